//! A client's side of a conversation: `Input`, driven as a shard drives it. However the bytes are cut, whenever a verdict comes and whatever
//! has to wait, the requests and the refusal are those of the bytes as a whole.

#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use tickwire_fuzz::messages::AnyMessage;
use tickwire_fuzz::{Decisions, Segments, frames};
use tickwire_proto::message::ErrorCode;
use tickwire_proto::{OVERHEAD, Parsed, parse};
use tickwire_server::shard::input::{Input, Proxied};
use tickwire_server::shard::session::{MAX_AUTH_PAYLOAD, Refusal, Request, Session};

/// MAX_MSG_SIZE: the default, the least and another one that can be configured.
const MAX_MSG_SIZES: [usize; 3] = [65_536, 4096, 10_000];

/// A load balancer's header, which an encrypted or plain conversation may begin with.
const PROXY_HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 21591\r\n";

fuzz_target!(|input: &[u8]| {
    let mut decisions = Decisions::new(input);
    let plan = Plan::decide(&mut decisions);
    let written = decisions.byte() % 2 == 1;
    let (bytes, intact) = if written {
        let written = frames::write(&mut decisions);
        (written.bytes, written.intact)
    } else {
        (decisions.rest().to_vec(), Vec::new())
    };

    let whole = Outcome::of_the_whole(&bytes, &plan);
    whole.check_against_the_page(&intact, &plan);
    assert_eq!(Driver::run(&bytes, &plan.at_once()), whole, "at once: {plan:?}, {bytes:02x?}");
    assert_eq!(Driver::run(&bytes, &plan), whole, "{plan:?}, {bytes:02x?}");
});

/// Everything about a conversation that is not in its bytes.
#[derive(Clone, Debug)]
struct Plan {
    max_msg_size: usize,
    /// Whether the password is right.
    right: bool,
    /// How many segments come between AUTH and the verdict; `None`: it is there at once.
    verdict_after: Option<u8>,
    preamble: Preamble,
    sizes: [u8; 4],
    /// A bit for each segment in turn: whether what waits is taken up before it comes.
    take_up: u8,
}

/// What comes before the first frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Preamble {
    None,
    /// A load balancer's header, and plain frames behind it.
    Proxy,
    /// A load balancer's header, and what is behind it waits for the turn of its handshake.
    ProxyAndHandshake,
}

impl Plan {
    fn decide(decisions: &mut Decisions<'_>) -> Self {
        Self {
            max_msg_size: decisions.one_of(&MAX_MSG_SIZES),
            right: decisions.byte() % 4 != 3,
            verdict_after: match decisions.byte() {
                later @ 0..=127 => later.checked_sub(1),
                later => Some(later % 4),
            },
            preamble: decisions.one_of(&[Preamble::None, Preamble::Proxy, Preamble::ProxyAndHandshake]),
            sizes: Segments::sizes(decisions),
            take_up: decisions.byte(),
        }
    }

    /// The same conversation without cuts and pauses.
    fn at_once(&self) -> Self {
        Self { verdict_after: None, preamble: Preamble::None, sizes: [0; 4], ..self.clone() }
    }

    fn wrong_password() -> Refusal {
        Refusal::new(ErrorCode::AuthFailed, "username or password is wrong")
    }
}

/// What came of a conversation.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Each with the place in the bytes at which its frame ended.
    requests: Vec<(Request, usize)>,
    refusal: Option<Refusal>,
}

impl Outcome {
    /// Without `Input`: frame by frame out of all the bytes.
    fn of_the_whole(bytes: &[u8], plan: &Plan) -> Self {
        let (mut outcome, mut session, mut end) = (Self::default(), Session::AwaitingAuth, 0);
        loop {
            let frame = match parse(&bytes[end..], session.max_payload(plan.max_msg_size)) {
                Ok(Parsed::Incomplete { .. }) => return outcome,
                Ok(Parsed::Frame { frame, len }) => {
                    end += len;
                    frame
                }
                Err(error) => {
                    outcome.refusal = Some(error.into());
                    return outcome;
                }
            };
            match session.on_frame(&frame) {
                Err(refusal) => outcome.refusal = Some(refusal),
                Ok(request) => {
                    let asks_in = matches!(request, Request::Authenticate(_));
                    assert_eq!(asks_in, session == Session::AwaitingAuth, "{request:?} in {session:?}");
                    outcome.requests.push((request, end));
                    if asks_in && plan.right {
                        session = Session::Authenticated;
                    } else if asks_in {
                        outcome.refusal = Some(Plan::wrong_password());
                    }
                }
            }
            if outcome.refusal.is_some() {
                return outcome;
            }
        }
    }

    /// As long as the frames are known to be good, each asks for what docs/PROTOCOL.md says, or gets the code that it says.
    fn check_against_the_page(&self, intact: &[AnyMessage], plan: &Plan) {
        let mut requests = self.requests.iter().map(|(request, _)| request);
        let mut authenticated = false;
        for message in intact {
            let said = page(message, authenticated, plan.max_msg_size);
            match (said, requests.next()) {
                (Ok(request), Some(made)) => assert_eq!(*made, request),
                (Ok(request), None) => panic!("{request:?} did not come; {:?} did", self.refusal),
                (Err(code), None) => {
                    assert_eq!(self.refusal.as_ref().map(|refusal| refusal.code), Some(code), "{message:?}");
                    return;
                }
                (Err(code), Some(made)) => panic!("{made:?} was taken, where {code:?} is due"),
            }
            if !authenticated && !plan.right {
                assert_eq!(requests.next(), None, "nothing follows a wrong password");
                assert_eq!(self.refusal, Some(Plan::wrong_password()));
                return;
            }
            authenticated = true;
        }
    }
}

/// What a message asks for, or how it is refused. Written from docs/PROTOCOL.md and not from the code.
fn page(message: &AnyMessage, authenticated: bool, max_msg_size: usize) -> Result<Request, ErrorCode> {
    let limit = if authenticated { max_msg_size } else { max_msg_size.min(4096) };
    if message.to_frame().len() - OVERHEAD > limit {
        return Err(ErrorCode::FrameTooLarge);
    }
    match (message.clone(), authenticated) {
        (AnyMessage::DataBatch(_) | AnyMessage::Error(_), _) => Err(ErrorCode::UnexpectedType),
        (AnyMessage::Auth(_), true) => Err(ErrorCode::UnexpectedType),
        (AnyMessage::Subscribe(_) | AnyMessage::Heartbeat(_), false) => Err(ErrorCode::AuthRequired),
        (AnyMessage::Auth(auth), false) if auth.username.len() > 255 || auth.password.len() > 1024 => {
            Err(ErrorCode::Malformed)
        }
        (AnyMessage::Auth(auth), false) => Ok(Request::Authenticate(auth)),
        (AnyMessage::Subscribe(subscribe), true) => Ok(Request::Subscribe(subscribe)),
        (AnyMessage::Heartbeat(_), true) => Ok(Request::Alive),
    }
}

/// What a shard does with a connection's `Input`, in the order in which it does it: see `server/src/shard/receive.rs`.
struct Driver<'a> {
    plan: &'a Plan,
    input: Input,
    /// Bytes that `Input` was given; those of a load balancer's header do not count.
    fed: usize,
    /// Where the last frame that was taken ended.
    taken: usize,
    /// Some of what is held has not been looked at.
    unparsed: bool,
    /// So many segments are still to come before the verdict.
    verdict_in: Option<u8>,
    outcome: Outcome,
}

impl<'a> Driver<'a> {
    fn run(bytes: &[u8], plan: &'a Plan) -> Outcome {
        let mut driver = Self {
            plan,
            input: Input::default(),
            fed: 0,
            taken: 0,
            unparsed: false,
            verdict_in: None,
            outcome: Outcome::default(),
        };
        let wire = match plan.preamble {
            Preamble::None => bytes.to_vec(),
            Preamble::Proxy | Preamble::ProxyAndHandshake => [PROXY_HEADER, bytes].concat(),
        };
        let mut header_is_due = plan.preamble != Preamble::None;
        for (index, segment) in Segments::new(plan.sizes, &wire).enumerate() {
            let take_up = plan.take_up.rotate_right(index as u32) & 1 == 1;
            driver.wait_for_verdict();
            if driver.unparsed && take_up {
                driver.receive(&[]);
            }
            if driver.outcome.refusal.is_some() {
                break;
            }
            if header_is_due {
                header_is_due = driver.take_proxy_header(segment);
            } else {
                driver.fed += segment.len();
                driver.receive(segment);
            }
        }
        // In the end everything is taken up, and every verdict comes.
        while driver.unparsed || driver.verdict_in.is_some() {
            driver.wait_for_verdict();
            if driver.unparsed {
                driver.receive(&[]);
            }
        }
        driver.outcome
    }

    /// Answers whether more of the header is to come.
    fn take_proxy_header(&mut self, segment: &[u8]) -> bool {
        let Some(Proxied { client, rest }) = self.input.proxy_header(segment).expect("the header is good")
        else {
            assert!(self.input.held() < PROXY_HEADER.len());
            return true;
        };
        assert_eq!(client, Some(SocketAddr::from(([192, 0, 2, 7], 40_000))));
        assert_eq!(self.input.held(), 0);
        self.fed = rest.len();
        self.input.hold(&rest);
        assert_eq!(self.input.held(), rest.len());
        if self.plan.preamble == Preamble::ProxyAndHandshake {
            let released = self.input.release();
            assert_eq!(released, rest);
            assert_eq!(self.input.held(), 0);
            self.receive(&released);
        } else {
            self.unparsed = !rest.is_empty();
        }
        false
    }

    fn receive(&mut self, mut bytes: &[u8]) {
        if self.outcome.refusal.is_some() {
            return;
        }
        loop {
            self.unparsed = false;
            let session = self.input.session();
            let request = self.input.next(&mut bytes, self.plan.max_msg_size);
            let Some(request) = request else {
                assert!(bytes.is_empty(), "nothing came of bytes, and they were not taken");
                self.check_held(0);
                if session != Session::Checking {
                    // What is left is less than a frame.
                    assert!(self.input.held() < OVERHEAD + session.max_payload(self.plan.max_msg_size));
                }
                return;
            };
            assert_ne!(session, Session::Checking, "{request:?} came while a password was checked");
            match request {
                Err(refusal) => return self.refuse(refusal),
                Ok(request) => {
                    self.taken = self.fed - self.input.held() - bytes.len();
                    let costly = matches!(request, Request::Subscribe(_));
                    let asks_in = matches!(request, Request::Authenticate(_));
                    assert_eq!(asks_in, session == Session::AwaitingAuth, "{request:?} in {session:?}");
                    self.outcome.requests.push((request, self.taken));
                    if asks_in {
                        match self.plan.verdict_after {
                            None => self.conclude(),
                            later => {
                                self.input.enter(Session::Checking);
                                self.verdict_in = later;
                            }
                        }
                        if self.outcome.refusal.is_some() {
                            return;
                        }
                    }
                    if costly {
                        self.input.hold(bytes);
                        self.unparsed = self.input.held() > 0;
                        self.check_held(0);
                        return;
                    }
                }
            }
        }
    }

    /// Every byte is either taken, or held, or with the caller still.
    fn check_held(&self, with_the_caller: usize) {
        assert_eq!(self.taken + self.input.held() + with_the_caller, self.fed);
    }

    fn wait_for_verdict(&mut self) {
        match &mut self.verdict_in {
            Some(0) => {
                assert_eq!(self.input.session(), Session::Checking);
                self.verdict_in = None;
                self.conclude();
                // It may have sent more meanwhile.
                self.unparsed = self.outcome.refusal.is_none();
            }
            Some(segments) => *segments -= 1,
            None => {}
        }
    }

    fn conclude(&mut self) {
        if self.plan.right {
            self.input.enter(Session::Authenticated);
        } else {
            self.refuse(Plan::wrong_password());
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        assert_eq!(self.outcome.refusal, None, "a second refusal");
        self.outcome.refusal = Some(refusal);
        self.unparsed = false;
        self.verdict_in = None;
        self.input.close();
        assert_eq!(self.input.held(), 0);
    }
}

/// What a stranger can make the server hold is what the page says.
const _: () = assert!(MAX_AUTH_PAYLOAD == 4096);
