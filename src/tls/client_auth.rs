//! Whether a client's certificate is good: the chain, the dates, what it may be used for, and
//! whether it was taken back.
//!
//! One function answers that, for the handshake, for a session that is resumed, and for a connection
//! that is there when something changes: BoringSSL checks in the first of these only. It is asked
//! with a time and keeps nothing. What follows from the answer is for `acceptor` and `peer`.

use boring::error::ErrorStack;
use boring::nid::Nid;
use boring::pkey::Id;
use boring::sha::{Sha256, sha256};
use boring::ssl::SslAlert;
use boring::stack::{Stack, StackRef};
use boring::x509::store::X509Store;
use boring::x509::verify::X509VerifyFlags;
use boring::x509::{X509, X509Ref, X509StoreContext, X509VerifyError};

use super::certs::unix_seconds;
use super::secret::Answers;
use super::spec::{ClientAuthMode, ClientAuthSpec, RevocationScope};
use super::store;
use super::trust::{self, RevocationList, TrustError};
use crate::identity::certificate::InvalidCertificate;

/// Names of CAs for clients to choose by take no more than this: some clients give up on hellos of
/// many records, and in TLS 1.3 all of them have to fit 64 KiB.
const MOST_CA_NAMES: usize = 8 << 10;

/// What a client is asked for, ready for use.
pub(super) struct ClientPolicy {
    /// Where it is written.
    pub(super) place: String,
    pub(super) mode: ClientAuthMode,
    /// Whether clients are told the names of the trusted CAs.
    pub(super) sends_ca_names: bool,
    /// The same for the same policy with the same trusted certificates and revocation lists, here
    /// and on other machines.
    pub(super) digest: [u8; 32],
    /// What is odd about it and no error.
    pub(super) warnings: Vec<String>,
    pub(super) anchors: Vec<X509>,
    pub(super) lists: Vec<RevocationList>,
    chain: X509Store,
    /// None where nothing is ever taken back.
    revocations: Option<(X509Store, RevocationScope)>,
    depth: u8,
    takes_weak: bool,
}

/// A certificate that is good, and for how long.
#[derive(Clone)]
pub(super) struct Verified {
    /// The intermediates between it and what is trusted, its issuer first.
    pub(super) intermediates: Vec<X509>,
    /// When something that it depends on ends, in seconds since 1970.
    pub(super) until: i64,
}

impl ClientPolicy {
    /// Loads what `spec` names.
    ///
    /// # Errors
    /// [`TrustError`], with the file and the fix.
    pub(super) fn load(spec: &ClientAuthSpec, answers: &Answers) -> Result<Self, TrustError> {
        let anchors = trust::certificates(&spec.trust, answers)?;
        let lists = trust::revocations(&spec.crl)?;
        trust::check_signers(&lists, &anchors)?;
        let library = |source| TrustError::Damaged {
            what: "trust store",
            path: spec
                .trust
                .first()
                .map(|it| it.path.clone())
                .unwrap_or_default(),
            source,
        };
        Self::build(spec, anchors, lists).map_err(library)
    }

    fn build(
        spec: &ClientAuthSpec,
        anchors: Vec<X509>,
        lists: Vec<RevocationList>,
    ) -> Result<Self, ErrorStack> {
        let revocations = match lists.is_empty() {
            true => None,
            false => {
                let ders: Vec<_> = lists.iter().map(|list| list.der.clone()).collect();
                let store = store::of_revocations(&anchors, &ders)?;
                Some((store, spec.revocation))
            }
        };
        let mut policy = Self {
            place: spec.place.clone(),
            mode: spec.mode,
            sends_ca_names: false,
            digest: digest(spec, &anchors, &lists)?,
            warnings: Vec::new(),
            chain: store::for_clients(&anchors)?,
            revocations,
            depth: spec.depth,
            takes_weak: spec.takes_weak,
            anchors,
            lists,
        };
        policy.look_at_names(spec)?;
        policy.look_at_anchors(spec);
        policy.look_at_lists(spec);
        Ok(policy)
    }

    /// That which asks for nothing.
    pub(super) fn off() -> Result<Self, ErrorStack> {
        Self::build(&ClientAuthSpec::default(), Vec::new(), Vec::new())
    }

    fn look_at_names(&mut self, spec: &ClientAuthSpec) -> Result<(), ErrorStack> {
        if !spec.send_ca_names || self.mode == ClientAuthMode::Pinned {
            return Ok(());
        }
        let names: Vec<_> = self.anchors.iter().map(|it| it.subject_name()).collect();
        let ders = names.iter().map(|name| name.to_der());
        let sizes = ders
            .map(|der| Ok(der?.len() + 2))
            .sum::<Result<usize, ErrorStack>>()?;
        if sizes > MOST_CA_NAMES {
            self.warnings.push(format!(
                "{}: the names of these {} CAs are too long to be told to clients, so they are not; \
                 write send_ca_names: false to keep it so, or trust fewer",
                spec.place,
                names.len()
            ));
            return Ok(());
        }
        self.sends_ca_names = true;
        Ok(())
    }

    fn look_at_anchors(&mut self, spec: &ClientAuthSpec) {
        let (public, first) = trust::public_roots(&self.anchors);
        if let Some(first) = first {
            self.warnings.push(format!(
                "{}: {public} of the {} trusted certificates are of public CAs ({first}), as in a \
                 system's own bundle: whoever gets a certificate from one of them is let in; trust \
                 only the CA that issues your clients' certificates",
                spec.place,
                self.anchors.len()
            ));
        }
    }

    fn look_at_lists(&mut self, spec: &ClientAuthSpec) {
        if self.lists.is_empty() {
            return;
        }
        let missing = trust::without_list(&self.lists, &self.anchors);
        let warnings = missing.into_iter().map(|name| {
            format!(
                "{}: there is no revocation list of {name}, so that no certificate of that issuer \
                 is accepted; add its list to crl",
                spec.place
            )
        });
        self.warnings.extend(warnings);
    }

    /// The revocation lists that are out of date at this time.
    pub(super) fn stale_lists(&self, now: i64) -> impl Iterator<Item = &RevocationList> {
        let stale = move |list: &&RevocationList| list.next_update.is_some_and(|end| end <= now);
        self.lists.iter().filter(stale)
    }

    /// Whether a certificate is good at this time, in seconds since 1970. `others` are what the
    /// client sent with it, of which nothing is known.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn verify(
        &self,
        leaf: &X509Ref,
        others: &StackRef<X509>,
        now: i64,
    ) -> Result<Verified, InvalidCertificate> {
        if self.mode == ClientAuthMode::Pinned {
            self.check_key(leaf)?;
            return check_dates(leaf, now);
        }
        let mut chain = self.find_chain(leaf, others, now)?;
        self.check_strength(&chain)?;
        let mut until = earliest_end(&chain)?;
        if let Some((store, scope)) = &self.revocations {
            self.check_revocation(store, *scope, &chain, now)?;
            // Each of these may make another list the one that counts.
            let changes = self
                .lists
                .iter()
                .flat_map(|it| [Some(it.this_update), it.next_update]);
            let coming = changes.flatten().filter(|change| *change > now);
            until = coming.chain([until]).min().unwrap_or(until);
        }
        // The leaf itself, and the trusted end. A leaf that is trusted itself is both.
        chain.remove(0);
        chain.pop();
        Ok(Verified {
            intermediates: chain,
            until,
        })
    }

    /// From the leaf up to what is trusted, both included.
    fn find_chain(
        &self,
        leaf: &X509Ref,
        others: &StackRef<X509>,
        now: i64,
    ) -> Result<Vec<X509>, InvalidCertificate> {
        let mut search = X509StoreContext::new().map_err(damaged)?;
        let found = search.init(&self.chain, leaf, others, |search| {
            let settings = search.verify_param_mut();
            settings.set_depth(self.depth.into());
            settings.set_time(now);
            let is_good = search.verify_cert()?;
            let chain = search.chain().into_iter().flatten();
            let chain: Vec<X509> = chain.map(|it| it.to_owned()).collect();
            Ok((is_good, search.verify_result(), chain))
        });
        match found.map_err(damaged)? {
            (true, Ok(()), chain) if !chain.is_empty() => Ok(chain),
            (_, Err(why), chain) => Err(self.why_not(why, &chain)),
            (_, Ok(()), _) => Err(InvalidCertificate::Damaged),
        }
    }

    /// Asks the issuer's list about each certificate. One after the other, and not all at once as
    /// BoringSSL can: it would want a list for the trusted end too, which has no issuer that could
    /// write one.
    fn check_revocation(
        &self,
        store: &X509Store,
        scope: RevocationScope,
        chain: &[X509],
        now: i64,
    ) -> Result<(), InvalidCertificate> {
        // A client's own certificate that is trusted has no issuer here whose signature on a list
        // could be checked. The list is one that somebody put there, all the same.
        if let [trusted] = chain
            && self.lists.iter().any(|list| list.has(trusted))
        {
            return Err(InvalidCertificate::Revoked);
        }
        let below_the_end = chain.len().saturating_sub(1);
        let asked = match scope {
            RevocationScope::Chain => below_the_end,
            RevocationScope::Leaf => below_the_end.min(1),
        };
        for (at, certificate) in chain.iter().enumerate().take(asked) {
            let mut above = Stack::new().map_err(damaged)?;
            for issuer in &chain[at + 1..] {
                above.push(issuer.clone()).map_err(damaged)?;
            }
            let mut search = X509StoreContext::new().map_err(damaged)?;
            let found = search.init(store, certificate, &above, |search| {
                let settings = search.verify_param_mut();
                settings.set_depth(self.depth.into());
                settings.set_time(now);
                settings.try_set_flags(X509VerifyFlags::CRL_CHECK)?;
                Ok((search.verify_cert()?, search.verify_result()))
            });
            match found.map_err(damaged)? {
                (true, Ok(())) => {}
                (_, Err(why)) => return Err(self.why_not(why, chain)),
                (false, Ok(())) => return Err(InvalidCertificate::Damaged),
            }
        }
        Ok(())
    }

    /// Whether all keys, and all signatures but that of the trusted end, which nobody looks at, are
    /// such as cannot be broken.
    fn check_strength(&self, chain: &[X509]) -> Result<(), InvalidCertificate> {
        if self.takes_weak {
            return Ok(());
        }
        let signed = &chain[..chain.len().saturating_sub(1)];
        if signed.iter().any(|it| has_weak_signature(it)) {
            return Err(InvalidCertificate::Weak);
        }
        chain.iter().try_for_each(|it| self.check_key(it))
    }

    fn check_key(&self, certificate: &X509Ref) -> Result<(), InvalidCertificate> {
        let key = certificate.public_key().map_err(damaged)?;
        match key.id() {
            _ if self.takes_weak => Ok(()),
            Id::RSA | Id::RSAPSS if key.bits() < 2048 => Err(InvalidCertificate::Weak),
            _ => Ok(()),
        }
    }

    fn why_not(&self, why: X509VerifyError, chain: &[X509]) -> InvalidCertificate {
        // The search ends where it is allowed no more; the library calls that an unknown issuer.
        let is_at_the_limit = chain.len() > usize::from(self.depth) + 1;
        match reason(why) {
            InvalidCertificate::UnknownAuthority if is_at_the_limit => {
                InvalidCertificate::ChainTooLong
            }
            reason => reason,
        }
    }
}

fn damaged(_: ErrorStack) -> InvalidCertificate {
    InvalidCertificate::Damaged
}

/// What the library found, in our words.
fn reason(why: X509VerifyError) -> InvalidCertificate {
    use X509VerifyError as E;
    match why {
        E::CERT_HAS_EXPIRED => InvalidCertificate::Expired,
        E::CERT_NOT_YET_VALID => InvalidCertificate::NotYetValid,
        E::CERT_REVOKED => InvalidCertificate::Revoked,
        E::DEPTH_ZERO_SELF_SIGNED_CERT => InvalidCertificate::SelfSigned,
        E::SELF_SIGNED_CERT_IN_CHAIN
        | E::UNABLE_TO_GET_ISSUER_CERT
        | E::UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        | E::UNABLE_TO_VERIFY_LEAF_SIGNATURE
        | E::CERT_UNTRUSTED
        | E::CERT_REJECTED
        | E::CERT_SIGNATURE_FAILURE => InvalidCertificate::UnknownAuthority,
        E::INVALID_PURPOSE | E::INVALID_CA | E::KEYUSAGE_NO_CERTSIGN => {
            InvalidCertificate::WrongPurpose
        }
        E::CERT_CHAIN_TOO_LONG | E::PATH_LENGTH_EXCEEDED => InvalidCertificate::ChainTooLong,
        E::CRL_HAS_EXPIRED => InvalidCertificate::CrlExpired,
        E::UNABLE_TO_GET_CRL | E::UNABLE_TO_GET_CRL_ISSUER => InvalidCertificate::CrlMissing,
        E::CRL_NOT_YET_VALID
        | E::CRL_SIGNATURE_FAILURE
        | E::KEYUSAGE_NO_CRL_SIGN
        | E::DIFFERENT_CRL_SCOPE
        | E::UNHANDLED_CRITICAL_CRL_EXTENSION
        | E::CRL_PATH_VALIDATION_ERROR
        | E::ERROR_IN_CRL_LAST_UPDATE_FIELD
        | E::ERROR_IN_CRL_NEXT_UPDATE_FIELD => InvalidCertificate::CrlInvalid,
        _ => InvalidCertificate::Damaged,
    }
}

/// What a client is told whose handshake fails for its certificate (RFC 8446 section 6.2); what
/// BoringSSL's own check would say, as far as our words tell the same things apart.
pub(super) const fn alert(why: InvalidCertificate) -> SslAlert {
    match why {
        InvalidCertificate::Expired
        | InvalidCertificate::NotYetValid
        | InvalidCertificate::CrlExpired => SslAlert::CERTIFICATE_EXPIRED,
        InvalidCertificate::Revoked => SslAlert::CERTIFICATE_REVOKED,
        InvalidCertificate::UnknownAuthority
        | InvalidCertificate::SelfSigned
        | InvalidCertificate::ChainTooLong
        | InvalidCertificate::CrlMissing => SslAlert::UNKNOWN_CA,
        InvalidCertificate::WrongPurpose => SslAlert::UNSUPPORTED_CERTIFICATE,
        InvalidCertificate::CrlInvalid
        | InvalidCertificate::Weak
        | InvalidCertificate::Damaged
        | InvalidCertificate::NoRule
        | InvalidCertificate::SeveralNames => SslAlert::BAD_CERTIFICATE,
    }
}

/// Whether its signature is over a digest for which two texts can be made.
fn has_weak_signature(certificate: &X509Ref) -> bool {
    const BROKEN: [Nid; 6] = [
        Nid::SHA1WITHRSAENCRYPTION,
        Nid::SHA1WITHRSA,
        Nid::ECDSA_WITH_SHA1,
        Nid::DSAWITHSHA1,
        Nid::MD5WITHRSAENCRYPTION,
        Nid::MD5WITHRSA,
    ];
    BROKEN.contains(&certificate.signature_algorithm().object().nid())
}

fn check_dates(leaf: &X509Ref, now: i64) -> Result<Verified, InvalidCertificate> {
    let end = unix_seconds(leaf.not_after()).map_err(damaged)?;
    if unix_seconds(leaf.not_before()).map_err(damaged)? > now {
        return Err(InvalidCertificate::NotYetValid);
    }
    // At its last moment, as the library has it.
    if end <= now {
        return Err(InvalidCertificate::Expired);
    }
    Ok(Verified {
        intermediates: Vec::new(),
        until: end,
    })
}

/// The moment at which the first of these expires.
fn earliest_end(chain: &[X509]) -> Result<i64, InvalidCertificate> {
    let mut earliest = i64::MAX;
    for certificate in chain {
        let end = unix_seconds(certificate.not_after()).map_err(damaged)?;
        earliest = earliest.min(end);
    }
    Ok(earliest)
}

fn digest(
    spec: &ClientAuthSpec,
    anchors: &[X509],
    lists: &[RevocationList],
) -> Result<[u8; 32], ErrorStack> {
    let anchors = anchors.iter().map(|anchor| Ok(sha256(&anchor.to_der()?)));
    let mut anchors = anchors.collect::<Result<Vec<_>, ErrorStack>>()?;
    let mut lists: Vec<_> = lists.iter().map(|list| sha256(&list.der)).collect();
    // In which order they were read says nothing.
    anchors.sort_unstable();
    lists.sort_unstable();
    let mut digest = Sha256::new();
    let settings = (spec.mode, spec.revocation, spec.depth, spec.takes_weak);
    let counts = (anchors.len(), lists.len());
    digest.update(format!("{settings:?} {counts:?} ").as_bytes());
    for part in anchors.iter().chain(&lists) {
        digest.update(part);
    }
    Ok(digest.finish())
}
