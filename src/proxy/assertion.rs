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
        told.client.tokens.with(|tokens: &mut Vec<Token>| {
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
