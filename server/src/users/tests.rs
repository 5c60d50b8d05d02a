use super::*;
use argon2::PasswordHasher as _;

/// A hash that costs next to nothing.
fn hash(password: &str) -> String {
    let params = Params::new(8, 1, 1, None).unwrap();
    Argon2::from(params).hash_password(password.as_bytes()).unwrap().to_string()
}

fn users(text: &str, before: Option<&Users>) -> Users {
    Users::new(parse(text).unwrap(), None, before).unwrap()
}

#[test]
fn a_user_with_the_right_password_is_let_in_and_known_again() {
    let users = users(&format!("# people\n\nann:{}\nbob:{}\n", hash("apple"), hash("pear")), None);
    assert_eq!(users.len(), 2);
    assert!(!users.recall("ann", "apple"), "nothing is known before it was checked");
    assert!(!users.candidate("ann", "pear").unwrap().verify("pear", &mut Workspace::default()));
    assert!(users.candidate("ann", "apple").unwrap().verify("apple", &mut Workspace::default()));
    assert!(users.recall("ann", "apple"));
    assert!(!users.recall("ann", "pear") && !users.recall("bob", "apple") && !users.recall("eve", "apple"));
}

#[test]
fn an_unknown_name_is_checked_against_somebody_and_never_let_in() {
    let users = users(&format!("ann:{}", hash("apple")), None);
    let candidate = users.candidate("eve", "apple").unwrap();
    assert!(candidate.user.verify("apple", &mut Workspace::default()), "the work is done");
    assert!(!candidate.verify("apple", &mut Workspace::default()));
    assert!(!users.recall("eve", "apple"));
}

#[test]
fn a_reload_keeps_what_is_known_of_those_who_have_not_changed() {
    let (ann, bob) = (hash("apple"), hash("pear"));
    let before = users(&format!("ann:{ann}\nbob:{bob}"), None);
    assert!(before.candidate("ann", "apple").unwrap().verify("apple", &mut Workspace::default()));
    assert!(before.candidate("bob", "pear").unwrap().verify("pear", &mut Workspace::default()));
    let after = users(&format!("ann:{ann}\nbob:{}", hash("plum")), Some(&before));
    assert!(after.recall("ann", "apple"));
    assert!(!after.recall("bob", "pear"), "a new hash is a new password");
    let gone = users(&format!("bob:{bob}"), Some(&after));
    assert!(!gone.recall("ann", "apple"));
}

#[test]
fn the_user_of_the_environment_is_one_of_them() {
    let credentials = Credentials::new("tick".into(), "wire".into()).unwrap();
    let users =
        Users::new(parse(&format!("ann:{}", hash("apple"))).unwrap(), Some(&credentials), None).unwrap();
    assert!(users.recall("tick", "wire"));
    assert!(users.candidate("tick", "wire").unwrap().verify("wire", &mut Workspace::default()));
    assert!(!users.candidate("tick", "apple").unwrap().verify("apple", &mut Workspace::default()));
}

#[test]
fn a_line_that_cannot_be_right_is_named_and_not_shown() {
    let problem = |text: &str| parse(text).unwrap_err();
    assert_eq!(problem("# a\nann hunter2").0, 2);
    for text in [
        "ann:hunter2",
        "ann:$argon2id$v=19$m=8,t=1",
        "ann:$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$c29tZWhhc2hzb21laGFzaA",
    ] {
        let (line, problem) = problem(text);
        assert_eq!(line, 1);
        assert!(problem.contains("hash") && !problem.contains("hunter2"), "{problem}");
    }
    assert_eq!(text(b"# a\n# b\nann:\xff").unwrap_err().0, 3);
    let ann = hash("apple");
    assert!(problem(&format!("ann:{ann}\nann:{ann}")).1.contains("earlier"));
    assert!(problem(&format!(":{ann}")).1.contains("0 bytes"));
    let cut = format!("ann:{}", &ann[..ann.len() - 3]);
    assert!(problem(&cut).1.contains("may have been cut"), "{}", problem(&cut).1);
    let greedy =
        "ann:$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQ$c29tZWhhc2hzb21laGFzaHNvbWVoYXNoc29tZWhhc2g";
    assert!(problem(greedy).1.contains("at most m="), "{}", problem(greedy).1);
}

#[test]
fn a_password_that_is_withdrawn_in_the_file_leaves_the_one_of_the_environment() {
    let credentials = Credentials::new("tick".into(), "wire".into()).unwrap();
    let read = |text: &str, before: Option<&Users>| {
        Users::new(parse(text).unwrap(), Some(&credentials), before).unwrap()
    };
    let both = read(&format!("tick:{}", hash("apple")), None);
    assert!(both.candidate("tick", "apple").unwrap().verify("apple", &mut Workspace::default()));
    assert!(!both.recall("tick", "wire"), "the file's word counts");
    let one = read("", Some(&both));
    assert!(!one.recall("tick", "apple"));
    assert!(!one.candidate("tick", "apple").unwrap().verify("apple", &mut Workspace::default()));
    assert!(one.recall("tick", "wire"));
}

#[test]
fn a_file_without_a_user_is_none() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("ann:{}\n", hash("apple"))).unwrap();
    let before = Users::read(file.path(), None, None).unwrap();
    // A shell that is about to write into it has emptied it.
    for text in ["", "\n# nobody yet\n"] {
        std::fs::write(file.path(), text).unwrap();
        let error = Users::read(file.path(), None, Some(&before)).unwrap_err();
        assert!(matches!(error, UsersError::Empty { .. }), "{error}");
    }
}
