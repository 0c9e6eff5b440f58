//! Requests in the clear that are sent to https instead of being served.
//!
//! The answer is made from the checked head alone: nothing that the request carries is used, its
//! session is not looked up, and its body is not waited for. Which connections redirect is for the
//! listener to say.

use http::StatusCode;

use super::Request;
use super::exchange::{AnswerSink, BodySource, Upload};
use super::forward::failure::ForwardFailure;
use super::pages::text::Text;
use super::record::Record;
use super::respond::Answer;
use super::spec::{Redirect, TargetPort};
use crate::gate::authorize::{Ambiguity, Refusal, RefusalReason};
use crate::gate::path::DecodedPath;
use crate::gate::path::relaxation::AmbiguousPath;
use crate::http1::fields::list_elements;
use crate::http1::head::RequestHead;
use crate::identity::NoIdentity;

/// The port that a URL with https leaves out.
const HTTPS: u16 = 443;

/// What becomes of a request that is not served where it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// It is sent to this URL.
    Url(StatusCode, String),
    /// Its path could be read in two ways: refused, as it would be over TLS.
    Ambiguous(Ambiguity),
    /// It says of no host that it is for.
    NoHost,
    /// A proxy before us says that it came over TLS. It would come back the same way, for ever.
    Loop,
}

impl Redirect {
    /// Where a request goes; `None` where its path is excepted. `refused` says of an ambiguous path
    /// how it would be refused, if it would.
    pub(super) fn elsewhere(
        &self,
        head: &RequestHead,
        refused: impl FnOnce(AmbiguousPath) -> Option<Ambiguity>,
    ) -> Option<Elsewhere> {
        match DecodedPath::parse(head.path()) {
            Ok(path) if self.except.iter().any(|except| except.matches(&path)) => return None,
            Ok(_) => {}
            Err(why) => {
                if let Some(ambiguity) = refused(why) {
                    return Some(Elsewhere::Ambiguous(ambiguity));
                }
            }
        }
        let Some(authority) = head.authority() else {
            return Some(Elsewhere::NoHost);
        };
        // Nobody gains by claiming it: all it brings is a refusal.
        let schemes = head.fields().get("x-forwarded-proto");
        let first = schemes.and_then(|schemes| list_elements(schemes).next());
        if first.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https")) {
            return Some(Elsewhere::Loop);
        }
        let target = head.target();
        let url = match self.port {
            TargetPort::AsAsked => format!("https://{authority}{target}"),
            TargetPort::Fixed(HTTPS) => format!("https://{}{target}", without_port(authority)),
            TargetPort::Fixed(port) => {
                format!("https://{}:{port}{target}", without_port(authority))
            }
        };
        Some(Elsewhere::Url(self.status, url))
    }
}

/// The host of a checked authority as it was written, an IPv6 address in its brackets.
fn without_port(authority: &str) -> &str {
    let colon = match authority.rfind(']') {
        Some(bracket) => authority[bracket..].find(':').map(|colon| bracket + colon),
        None => authority.find(':'),
    };
    &authority[..colon.unwrap_or(authority.len())]
}

impl Request<'_> {
    /// Where it goes instead of through the gate, if it does.
    pub(super) fn elsewhere(&self) -> Option<Elsewhere> {
        let head = self.head;
        let refused = |why| {
            let gate = &self.snapshot.gate;
            gate.ambiguity(head.method().as_str(), head.authority(), head.path(), why)
        };
        self.client.redirect.as_ref()?.elsewhere(head, refused)
    }

    /// Answers it at once, and nothing more on its connection.
    pub(super) async fn send_elsewhere<B: BodySource, A: AnswerSink>(
        &self,
        elsewhere: Elsewhere,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) {
        answer.close_after();
        let sent = self.say(elsewhere, body, answer, record).await;
        if let Err(failure) = sent {
            self.fail(&failure, body, answer, record).await;
        }
    }

    async fn say<B: BodySource, A: AnswerSink>(
        &self,
        elsewhere: Elsewhere,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<(), ForwardFailure> {
        let (reason, text) = match elsewhere {
            Elsewhere::Url(status, url) => {
                record.redirected();
                let redirect = Answer::redirect(status, url);
                return self.send(redirect, body, answer, record).await;
            }
            Elsewhere::Ambiguous(ambiguity) => {
                let refusal = Refusal {
                    reason: RefusalReason::Ambiguous(ambiguity),
                    route: None,
                    identity: Err(NoIdentity::NotRequested),
                };
                record.refused(&refusal);
                return self.refuse(&refusal, body, answer, record).await;
            }
            Elsewhere::NoHost => ("no_host", Text::NoHttp),
            Elsewhere::Loop => ("redirect_loop", Text::RedirectLoop),
        };
        record.not_redirected(reason);
        let problem = self.problem(StatusCode::BAD_REQUEST, text);
        self.send(problem, body, answer, record).await
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::gate::route::PathPattern;
    use crate::http1::head::HeadLimits;

    fn to_port(port: u16) -> Redirect {
        Redirect {
            status: StatusCode::PERMANENT_REDIRECT,
            port: TargetPort::Fixed(port),
            except: vec![PathPattern::parse("/.well-known/acme-challenge/").unwrap()],
        }
    }

    fn elsewhere(redirect: &Redirect, head: &str) -> Option<Elsewhere> {
        let mut buffer = BytesMut::from(head);
        let head = RequestHead::parse(&mut buffer, &HeadLimits::default());
        let refused = |why| Some(Ambiguity { why, remedy: None });
        redirect.elsewhere(&head.unwrap().unwrap(), refused)
    }

    #[track_caller]
    fn check(redirect: &Redirect, target: &str, host: &str, expected: &str) {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let url = Elsewhere::Url(redirect.status, expected.to_owned());
        assert_eq!(elsewhere(redirect, &head), Some(url), "{target} {host}");
    }

    #[test]
    fn on_the_same_port_the_authority_stays_as_the_client_wrote_it() {
        let same = Redirect::same_port();
        assert_eq!(same.status, StatusCode::TEMPORARY_REDIRECT);
        check(&same, "/", "Example.COM", "https://Example.COM/");
        check(&same, "/a?b=%2f", "h:8443", "https://h:8443/a?b=%2f");
        check(&same, "/%C3%BC", "[::1]:8443", "https://[::1]:8443/%C3%BC");
        check(&same, "http://h:1/a?b", "h:1", "https://h:1/a?b");
        check(&same, "http://h?b", "h", "https://h/?b");
    }

    #[test]
    fn another_port_takes_the_place_of_the_one_asked_for() {
        let (standard, other) = (to_port(443), to_port(8443));
        for (host, name) in [
            ("h", "h"),
            ("h:80", "h"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[2001:db8::7]:8080", "[2001:db8::7]"),
        ] {
            check(&standard, "/x?y", host, &format!("https://{name}/x?y"));
            check(&other, "/x?y", host, &format!("https://{name}:8443/x?y"));
        }
    }

    #[test]
    fn excepted_paths_are_matched_as_the_gate_reads_them() {
        let redirect = to_port(443);
        let of = |path: &str| {
            let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
            elsewhere(&redirect, &head)
        };
        for path in [
            "/.well-known/acme-challenge/token",
            "/.well-known/acme-challenge/",
            "/%2ewell-known/acme%2Dchallenge/token?x",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
        for path in [
            "/",
            "/.well-known/",
            "/.well-known/acme-challenges/",
            "/.WELL-KNOWN/acme-challenge/token",
            "/x/.well-known/acme-challenge/token",
            "/?/.well-known/acme-challenge/token",
        ] {
            assert!(matches!(of(path), Some(Elsewhere::Url(..))), "{path}");
        }
        for path in [
            "/.well-known/acme-challenge/../admin",
            "/.well-known/acme-challenge/%2e%2e/admin",
            "/.well-known/acme-challenge/..%2fadmin",
            "//.well-known/acme-challenge/token",
            "/.well-known/acme-challenge/;/x",
        ] {
            assert!(matches!(of(path), Some(Elsewhere::Ambiguous(_))), "{path}");
        }
    }

    #[test]
    fn what_has_no_place_to_go_is_refused() {
        let same = Redirect::same_port();
        for (head, expected) in [
            ("GET / HTTP/1.0\r\n\r\n", Elsewhere::NoHost),
            (
                "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
                Elsewhere::Ambiguous(Ambiguity {
                    why: AmbiguousPath::NotAbsolute,
                    remedy: None,
                }),
            ),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: HTTPS\r\n\r\n",
                Elsewhere::Loop,
            ),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https, http\r\n\r\n",
                Elsewhere::Loop,
            ),
        ] {
            assert_eq!(elsewhere(&same, head), Some(expected), "{head}");
        }
        let plain = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: http\r\n\r\n";
        assert!(matches!(elsewhere(&same, plain), Some(Elsewhere::Url(..))));
    }
}
