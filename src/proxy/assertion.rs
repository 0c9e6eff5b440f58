//! Signed assertions: a short-lived JWT (RFC 7519) that tells a backend who asks, for those that
//! believe signatures rather than a network.
//!
//! Its key is made or read elsewhere ([`Sign`]); its public half is shown on the admin listener.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::identity_headers::{IdentityHeaders, Told};
use super::spec::AssertionSpec;
use crate::gate::ability::{Ability, AbilitySet};
use crate::gate::authenticate::Principal;
use crate::gate::session::Timestamp;
use crate::http1::write;
use crate::identity::certificate::ClientIdentity;

/// The field that carries an assertion.
pub(super) const NAME: &str = "X-Portcullis-Assertion";

/// An Ed25519 key that can sign.
pub trait Sign: fmt::Debug + Send + Sync {
    /// The signature of a message. None where it cannot be made, for want of memory.
    fn sign(&self, message: &[u8]) -> Option<[u8; 64]>;

    /// The public half.
    fn public_key(&self) -> [u8; 32];
}

/// What makes assertions.
#[derive(Debug)]
pub struct Assertions {
    issuer: String,
    audience: Option<Arc<str>>,
    /// In milliseconds, as time is told here.
    lifetime: u64,
    key: Arc<dyn Sign>,
    /// The protected header, in base64url.
    header: String,
    /// The public key, in base64url.
    x: String,
    kid: String,
}

/// An assertion that is good for some more requests of its connection.
pub(super) struct Token {
    headers: Arc<IdentityHeaders>,
    principal: Principal,
    certificate: Option<Arc<ClientIdentity>>,
    audience: Arc<str>,
    made: Timestamp,
    line: Box<[u8]>,
}

/// Assertions kept for one connection: who asks and which backend it is for seldom change.
const MOST_KEPT: usize = 4;

impl Assertions {
    /// As `spec` says, signed with `key` (which is the one of `spec`).
    #[must_use]
    pub fn new(spec: &AssertionSpec, key: Arc<dyn Sign>) -> Self {
        let x = URL_SAFE_NO_PAD.encode(key.public_key());
        // RFC 7638: the required members in the order of their names, nothing between them.
        let thumbprint = Sha256::digest(format!(
            "{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{x}\"}}"
        ));
        let kid = URL_SAFE_NO_PAD.encode(thumbprint);
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": kid});
        Self {
            issuer: spec.issuer.clone(),
            audience: spec.audience.as_deref().map(Arc::from),
            lifetime: u64::try_from(spec.lifetime.as_millis()).unwrap_or(u64::MAX),
            key,
            header: URL_SAFE_NO_PAD.encode(header.to_string()),
            x,
            kid,
        }
    }

    /// The public key as a JWK Set (RFC 7517, RFC 8037).
    #[must_use]
    pub fn jwks(&self) -> String {
        let key = json!({
            "kty": "OKP", "crv": "Ed25519", "x": self.x, "kid": self.kid, "use": "sig",
            "alg": "EdDSA",
        });
        json!({"keys": [key]}).to_string()
    }

    /// Writes the field for one request: the assertion that its connection already has, or a new
    /// one. Without a signature there is no field.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        told: &Told<'_>,
        principal: &Principal,
        headers: &Arc<IdentityHeaders>,
    ) {
        let audience = self.audience.as_ref().unwrap_or(told.upstream);
        let certificate = told.permit.certificate().ok();
        told.client.kept.tokens.with(|tokens: &mut Vec<Token>| {
            tokens.retain(|token| self.is_fresh(token, told.now));
            let fits = |token: &&Token| {
                Arc::ptr_eq(&token.headers, headers)
                    // What is kept keeps its user alive: the same place is the same user.
                    && std::ptr::eq(token.principal.user(), principal.user())
                    && same(token.certificate.as_ref(), certificate)
                    && token.audience == *audience
            };
            if let Some(token) = tokens.iter().find(fits) {
                out.extend_from_slice(&token.line);
                return;
            }
            let claims = self.claims(audience, principal, certificate, told.now);
            let Some(assertion) = self.sign(&claims) else {
                return;
            };
            let mut line = Vec::new();
            write::field(&mut line, NAME, assertion.as_bytes());
            out.extend_from_slice(&line);
            if tokens.len() == MOST_KEPT {
                tokens.remove(0);
            }
            tokens.push(Token {
                headers: Arc::clone(headers),
                principal: principal.clone(),
                certificate: certificate.cloned(),
                audience: Arc::clone(audience),
                made: told.now,
                line: line.into(),
            });
        });
    }

    /// Whether at least half of its time is left. A clock that was set back makes a new one too.
    fn is_fresh(&self, token: &Token, now: Timestamp) -> bool {
        let age = now.0.checked_sub(token.made.0);
        age.is_some_and(|age| age < self.lifetime / 2)
    }

    fn claims(
        &self,
        audience: &str,
        principal: &Principal,
        certificate: Option<&Arc<ClientIdentity>>,
        now: Timestamp,
    ) -> serde_json::Value {
        let user = principal.user();
        let abilities: Vec<&str> = match &user.abilities {
            AbilitySet::All => vec!["*"],
            AbilitySet::Some(held) => held.iter().map(Ability::as_str).collect(),
        };
        let mut claims = json!({
            "iss": self.issuer,
            "aud": audience,
            "sub": user.name.as_str(),
            "iat": now.0 / 1000,
            "exp": now.0.saturating_add(self.lifetime) / 1000,
            "roles": user.roles,
            "groups": user.groups(),
            "abilities": abilities,
        });
        if let Some(email) = &user.email {
            claims["email"] = json!(email);
        }
        if let Some(certificate) = certificate {
            // RFC 8705 section 3.1. There is no TLS between us and the backend to compare it with;
            // it says which certificate the client has shown us.
            let thumbprint = URL_SAFE_NO_PAD.encode(certificate.sha256);
            claims["cnf"] = json!({"x5t#S256": thumbprint});
        }
        claims
    }

    /// The compact form of RFC 7515 section 7.1.
    fn sign(&self, claims: &serde_json::Value) -> Option<String> {
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        let input = format!("{}.{claims}", self.header);
        let signature = self.key.sign(input.as_bytes())?;
        Some(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn same(one: Option<&Arc<ClientIdentity>>, other: Option<&Arc<ClientIdentity>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::config::{Source, parse};
    use crate::gate::authorize::Permit;
    use crate::gate::request::{Destination, PresentedCertificate, PresentedSession, RequestView};
    use crate::gate::session::{Session, SessionDigest};
    use crate::gate::{Decision, Gate};
    use crate::identity::{NoIdentity, UserName};
    use crate::proxy::client::{ClientFacts, Scheme, SessionsAccepted};
    use crate::proxy::identity_headers::tests::certificate;
    use crate::proxy::spec::IdentityPreset;

    const NOW: Timestamp = Timestamp(1_800_000_000_500);

    /// The key of RFC 8037 appendix A; its signatures say how many there were.
    #[derive(Debug, Default)]
    struct TestKey(AtomicUsize);

    impl Sign for TestKey {
        fn sign(&self, _: &[u8]) -> Option<[u8; 64]> {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            Some([u8::try_from(count).unwrap(); 64])
        }

        fn public_key(&self) -> [u8; 32] {
            let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
            URL_SAFE_NO_PAD.decode(x).unwrap().try_into().unwrap()
        }
    }

    #[test]
    fn the_key_is_shown_as_rfc_8037_shows_its_own() {
        let assertions = Assertions::new(&AssertionSpec::default(), Arc::new(TestKey::default()));
        let jwks: serde_json::Value = serde_json::from_str(&assertions.jwks()).unwrap();
        assert_eq!(
            jwks,
            json!({"keys": [{
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            }]})
        );
    }

    fn gate() -> Gate {
        let source = Source {
            file: "test.yaml".into(),
            variables: &|_| None,
        };
        let hash = "$2b$10$Hs6tND/2lfxXtul5y/Kz9e6ZxTKEgkrbWhlIIMjnZE8Jn3S8vEthy";
        let text = format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\n\
             upstreams: {{device: {{url: 'http://127.0.0.1:1'}}}}\n\
             roles: {{user: [view], root: ['*']}}\n\
             users:\n\
             \x20 ralph: {{password: '{hash}', roles: [user], email: r@example.com}}\n\
             \x20 ada: {{password: '{hash}', roles: [root]}}\n\
             routes: [{{public: true}}]\n"
        );
        parse(&text, &source).unwrap().gate
    }

    fn permit(gate: &Gate, user: Option<&str>, with: Option<&Arc<ClientIdentity>>) -> Permit {
        let session = user.map(|user| {
            let name = UserName::parse(user).unwrap();
            let epoch = gate.users.active(&name).unwrap().credential_epoch;
            PresentedSession {
                digest: SessionDigest([0; 32]),
                session: Session::begin(name, epoch, NOW).into(),
            }
        });
        let certificate = with.map(|identity| PresentedCertificate {
            identity: Arc::clone(identity),
            client: gate.clients.identify(identity),
        });
        let view = RequestView {
            method: "GET",
            authority: None,
            path: "/",
            destination: Destination::None,
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            session: session.ok_or(NoIdentity::NotPresented),
            authorization: Err(NoIdentity::NotPresented),
            certificate: certificate.ok_or(NoIdentity::NotPresented),
        };
        match gate.decide(&view, NOW) {
            Decision::Forward(permit) => permit,
            other => panic!("{other:?}"),
        }
    }

    fn client() -> ClientFacts {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        ClientFacts::new(
            "https".into(),
            (address, address),
            Scheme::Https,
            SessionsAccepted::Yes,
            Arc::default(),
        )
    }

    /// What a backend gets that is told by assertions of 60 s.
    struct Backend {
        headers: Arc<IdentityHeaders>,
        client: ClientFacts,
        upstream: Arc<str>,
    }

    impl Backend {
        fn new(audience: Option<&str>) -> Self {
            let spec = AssertionSpec {
                audience: audience.map(str::to_owned),
                ..AssertionSpec::default()
            };
            let assertions = Assertions::new(&spec, Arc::new(TestKey::default()));
            let headers = IdentityHeaders::new(vec![IdentityPreset::Jwt], Some(assertions));
            Self {
                headers: headers.into(),
                client: client(),
                upstream: "device".into(),
            }
        }

        fn told(&self, permit: &Permit, after: Duration) -> String {
            let mut out = Vec::new();
            let told = Told {
                permit,
                client: &self.client,
                upstream: &self.upstream,
                now: Timestamp(NOW.0 + u64::try_from(after.as_millis()).unwrap()),
            };
            self.headers.write(&mut out, &told);
            String::from_utf8(out).unwrap()
        }
    }

    fn claims(line: &str) -> serde_json::Value {
        let token = line.strip_prefix("X-Portcullis-Assertion: ").unwrap();
        let parts: Vec<_> = token.trim_end().split('.').collect();
        let decoded = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
        };
        let header = decoded(parts[0]);
        assert_eq!(
            (&header["alg"], &header["typ"]),
            (&json!("EdDSA"), &json!("JWT"))
        );
        decoded(parts[1])
    }

    #[test]
    fn an_assertion_says_who_asks_with_which_certificate_and_for_how_long() {
        let gate = gate();
        let backend = Backend::new(None);
        let at_once = Duration::ZERO;
        let told = backend.told(&permit(&gate, Some("ralph"), None), at_once);
        assert_eq!(
            claims(&told),
            json!({
                "iss": "portcullis", "aud": "device", "sub": "ralph", "email": "r@example.com",
                "iat": 1_800_000_000, "exp": 1_800_000_060,
                "roles": ["user"], "groups": ["user"], "abilities": ["user", "view"],
            })
        );
        let certificate = Arc::new(certificate());
        let told = backend.told(&permit(&gate, Some("ada"), Some(&certificate)), at_once);
        let claims = claims(&told);
        assert_eq!(
            (&claims["sub"], &claims["abilities"]),
            (&json!("ada"), &json!(["*"]))
        );
        let thumbprint = URL_SAFE_NO_PAD.encode([0xab; 32]);
        assert_eq!(claims["cnf"], json!({"x5t#S256": thumbprint}));
        assert_eq!(claims.get("email"), None);
    }

    #[test]
    fn nobody_is_asserted_where_nobody_is_known() {
        let backend = Backend::new(None);
        assert_eq!(
            backend.told(&permit(&gate(), None, None), Duration::ZERO),
            ""
        );
    }

    #[test]
    fn an_assertion_is_used_again_for_half_its_time_by_the_same_asker_only() {
        let gate = gate();
        let backend = Backend::new(Some("all"));
        let seconds = Duration::from_secs;
        let ralph = permit(&gate, Some("ralph"), None);
        let first = backend.told(&ralph, seconds(0));
        assert_eq!(claims(&first)["aud"], "all");
        assert_eq!(backend.told(&ralph, seconds(29)), first);
        let with_certificate = permit(&gate, Some("ralph"), Some(&Arc::new(certificate())));
        let second = backend.told(&with_certificate, seconds(29));
        assert_ne!(second, first);
        let ada = backend.told(&permit(&gate, Some("ada"), None), seconds(29));
        assert_eq!(claims(&ada)["sub"], "ada");
        let later = backend.told(&ralph, seconds(30));
        assert_eq!(claims(&later)["iat"], 1_800_000_030);
        // Ada's is still there.
        let again = backend.told(&permit(&gate, Some("ada"), None), seconds(40));
        assert_eq!(again, ada);
    }
}
