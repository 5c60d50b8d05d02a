use rcgen::ExtendedKeyUsagePurpose;

use super::super::fake::Authority;
use super::*;

const NAMES_OF_ONE: &str = r#"["front-proxy-client"]"#;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, axum::http::HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn only_a_certificate_of_the_authority_with_an_allowed_name_is_the_front_proxys() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let front_proxy = FrontProxy::read(&ours.config_map(NAMES_OF_ONE)).unwrap();
    let now = UnixTime::now();
    let recognized = |certificate| front_proxy.recognize(&[certificate], now);
    assert_eq!(recognized(ours.identity("front-proxy-client").certificate), Ok(()));
    assert_eq!(recognized(ours.identity("somebody").certificate), Err(Stranger::Name("somebody".to_owned())));
    assert_eq!(recognized(theirs.identity("front-proxy-client").certificate), Err(Stranger::Untrusted));
    let server = ours.sign("front-proxy-client", ExtendedKeyUsagePurpose::ServerAuth);
    assert_eq!(recognized(server.certificate), Err(Stranger::Untrusted));
    assert_eq!(front_proxy.recognize(&[], now), Err(Stranger::NoCertificate));
}

#[test]
fn a_certificate_that_has_ended_is_nobodys() {
    let authority = Authority::new();
    let front_proxy = FrontProxy::read(&authority.config_map(NAMES_OF_ONE)).unwrap();
    // RFC 5280's last second, to which rcgen's certificates are good, lies before that.
    let later = UnixTime::since_unix_epoch(Duration::from_secs(400_000_000_000));
    let own = authority.identity("front-proxy-client").certificate;
    assert_eq!(front_proxy.recognize(&[own], later), Err(Stranger::Untrusted));
}

#[test]
fn where_no_names_are_listed_the_authority_is_enough() {
    let authority = Authority::new();
    let front_proxy = FrontProxy::read(&authority.config_map("[]")).unwrap();
    let own = authority.identity("anybody").certificate;
    assert_eq!(front_proxy.recognize(&[own], UnixTime::now()), Ok(()));
}

#[test]
fn the_headers_name_the_user_and_all_that_is_known() {
    let front_proxy = FrontProxy::read(&Authority::new().config_map(NAMES_OF_ONE)).unwrap();
    let user = front_proxy
        .user(&headers(&[
            ("x-remote-user", "alice"),
            ("x-remote-uid", "u-1"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-extra-scopes", "read"),
            ("x-remote-extra-scopes", "write"),
            ("x-remote-extra-example.com%2fkey", "1"),
            ("x-forwarded-for", "10.0.0.1"),
        ]))
        .unwrap();
    assert_eq!(
        user,
        User {
            name: "alice".to_owned(),
            uid: Some("u-1".to_owned()),
            groups: ["a", "b", "system:authenticated"].map(str::to_owned).to_vec(),
            extra: [
                ("scopes".to_owned(), vec!["read".to_owned(), "write".to_owned()]),
                ("example.com/key".to_owned(), vec!["1".to_owned()]),
            ]
            .into(),
        }
    );
}

#[test]
fn who_is_anonymous_does_not_become_authenticated() {
    let front_proxy = FrontProxy::read(&Authority::new().config_map(NAMES_OF_ONE)).unwrap();
    let user = front_proxy
        .user(&headers(&[
            ("x-remote-user", "system:anonymous"),
            ("x-remote-group", "system:unauthenticated"),
        ]))
        .unwrap();
    assert_eq!(user.groups, ["system:unauthenticated"]);
}

#[test]
fn without_a_name_that_can_be_read_there_is_no_user() {
    let front_proxy = FrontProxy::read(&Authority::new().config_map(NAMES_OF_ONE)).unwrap();
    assert_eq!(front_proxy.user(&headers(&[("x-remote-group", "a")])), Err(Stranger::NoUser));
    let mut unreadable = HeaderMap::new();
    unreadable.insert("x-remote-user", axum::http::HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(front_proxy.user(&unreadable), Err(Stranger::NoUser));
}

#[test]
fn what_is_wrong_with_the_config_map_is_said() {
    let whole = Authority::new().config_map(NAMES_OF_ONE);
    let with = |key: &str, value: Option<&str>| {
        let mut config_map = whole.clone();
        let data = config_map.data.as_mut().unwrap();
        match value {
            Some(value) => data.insert(key.to_owned(), value.to_owned()),
            None => data.remove(key),
        };
        FrontProxy::read(&config_map).unwrap_err()
    };
    assert_eq!(with(AUTHORITIES, None), FrontProxyError::Missing(AUTHORITIES));
    assert_eq!(with(USER_HEADERS, None), FrontProxyError::Missing(USER_HEADERS));
    assert_eq!(with(AUTHORITIES, Some("hello")), FrontProxyError::Pem(PemProblem::NoCertificate));
    assert_eq!(with(NAMES, Some("front-proxy-client")), FrontProxyError::List(NAMES));
    assert!(with(AUTHORITIES, None).to_string().contains("--requestheader-"));
}
