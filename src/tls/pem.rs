//! Certificates and keys from the bytes of a file, PEM or DER, encrypted or not. Told apart by what
//! is in them, never by a file's name. Keystores are elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boring::error::ErrorStack;
use boring::pkey::{PKey, Private};
use boring::x509::X509;

use super::ber::{OCTET_STRING, OID, Reader, SEQUENCE};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// What is wrong with the bytes.
#[derive(Debug)]
pub(super) enum Flaw {
    /// Something else is there.
    Other,
    /// It begins as it should and cannot be parsed.
    Damaged(ErrorStack),
    /// A key that needs a passphrase, and there is none.
    Encrypted,
    /// A key that this passphrase does not open.
    WrongPassphrase,
    /// A key that is encrypted in a way that BoringSSL does not know.
    UnknownEncryption(&'static str),
}

/// All certificates, in the order of the file.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<X509>, Flaw> {
    let bytes = without_mark(bytes);
    if contains(bytes, CERTIFICATE) {
        return X509::stack_from_pem(bytes).map_err(Flaw::Damaged);
    }
    match X509::from_der(bytes) {
        Ok(certificate) => Ok(vec![certificate]),
        Err(_) => Err(Flaw::Other),
    }
}

/// How many certificates a file in PEM says that it has; none in DER. Of a block that has lost its
/// beginning or its end, the other counts.
pub(super) fn count_certificates(bytes: &[u8]) -> usize {
    let kinds = ["", "X509 ", "TRUSTED "];
    let marks = |edge: &str| -> usize {
        let of_kind = |kind| count(bytes, &format!("-----{edge} {kind}CERTIFICATE-----"));
        kinds.map(of_kind).iter().sum()
    };
    marks("BEGIN").max(marks("END"))
}

fn count(bytes: &[u8], text: &str) -> usize {
    memchr::memmem::find_iter(bytes, text).count()
}

/// All revocation lists, each in DER, in the order of the file; `None` where something else is
/// there, or a part of it cannot be read.
pub(super) fn revocation_lists(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    const BEGIN: &str = "-----BEGIN X509 CRL-----";
    const END: &str = "-----END X509 CRL-----";
    let bytes = without_mark(bytes);
    let (begins, ends) = (count(bytes, BEGIN), count(bytes, END));
    if begins != ends {
        return None;
    }
    if begins == 0 {
        // Anything in DER is a sequence; the caller looks closer.
        let is_der = Reader::new(bytes).enter(SEQUENCE).is_some() && X509::from_der(bytes).is_err();
        return is_der.then(|| vec![bytes.to_vec()]);
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let blocks = text.split(BEGIN).skip(1);
    let lists = blocks.map(|block| {
        let (inside, _) = block.split_once(END)?;
        let digits: String = inside.split_whitespace().collect();
        STANDARD.decode(digits).ok()
    });
    lists.collect()
}

/// The private key: PKCS#8, PKCS#1 (RSA) or SEC1 (EC). A passphrase that is not needed is not used.
pub(super) fn private_key(bytes: &[u8], passphrase: Option<&str>) -> Result<PKey<Private>, Flaw> {
    let bytes = without_mark(bytes);
    // The library takes passphrases as C strings, and panics where one would be cut.
    if passphrase.is_some_and(|it| it.contains('\0')) {
        return Err(Flaw::WrongPassphrase);
    }
    match encoding(bytes) {
        Some(Encoding::Pem) => PKey::private_key_from_pem(bytes).map_err(Flaw::Damaged),
        Some(Encoding::EncryptedPem) => {
            let passphrase = passphrase.ok_or(Flaw::Encrypted)?;
            PKey::private_key_from_pem_passphrase(bytes, passphrase.as_bytes()).map_err(not_opened)
        }
        Some(Encoding::EncryptedDer) => {
            let passphrase = passphrase.ok_or(Flaw::Encrypted)?;
            PKey::private_key_from_pkcs8_passphrase(bytes, passphrase.as_bytes())
                .map_err(not_opened)
        }
        None => PKey::private_key_from_der(bytes).map_err(|_| Flaw::Other),
    }
}

/// Editors of Windows put a byte order mark in front, and the library does not see the line after it.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

enum Encoding {
    Pem,
    EncryptedPem,
    EncryptedDer,
}

fn encoding(bytes: &[u8]) -> Option<Encoding> {
    // The old way (RFC 1421 section 4.6.1.1) and that of PKCS#8.
    let encrypted = [
        "Proc-Type: 4,ENCRYPTED",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----",
    ];
    if contains(bytes, "PRIVATE KEY-----") {
        let is_encrypted = encrypted.iter().any(|mark| contains(bytes, mark));
        return Some(if is_encrypted {
            Encoding::EncryptedPem
        } else {
            Encoding::Pem
        });
    }
    is_encrypted_key(bytes).then_some(Encoding::EncryptedDer)
}

/// EncryptedPrivateKeyInfo (RFC 5958 section 3): a scheme of PKCS#5 or PKCS#12 with its parameters,
/// then bytes.
pub(super) fn is_encrypted_key(der: &[u8]) -> bool {
    const SCHEMES: [&[u8]; 2] = [
        // 1.2.840.113549.1.5: PKCS#5.
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x05",
        // 1.2.840.113549.1.12: PKCS#12.
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c",
    ];
    let scheme = || {
        let mut key = Reader::new(der).enter(SEQUENCE)?;
        let scheme = key.enter(SEQUENCE)?.take(OID)?;
        key.take(OCTET_STRING).map(|_| scheme)
    };
    scheme().is_some_and(|found| SCHEMES.iter().any(|scheme| found.starts_with(scheme)))
}

fn not_opened(error: ErrorStack) -> Flaw {
    let reasons = error.errors().iter().filter_map(|error| error.reason());
    for reason in reasons {
        let what = match reason {
            "UNSUPPORTED_PRF" => {
                "its key derivation uses another function than HMAC with SHA-1 or SHA-256"
            }
            "UNSUPPORTED_KEY_DERIVATION_FUNCTION" => "its key derivation is not PBKDF2 (scrypt?)",
            "UNSUPPORTED_CIPHER" | "UNSUPPORTED_ENCRYPTION" | "UNKNOWN_CIPHER_ALGORITHM" => {
                "its cipher is not known"
            }
            "UNKNOWN_ALGORITHM" => "its scheme is not known",
            _ => continue,
        };
        return Flaw::UnknownEncryption(what);
    }
    Flaw::WrongPassphrase
}

/// What a file seems to be, for a message that helps whoever mixed two up.
pub(super) fn what_is(bytes: &[u8]) -> &'static str {
    let marks = [
        ("ENCRYPTED PRIVATE KEY-----", "an encrypted private key"),
        ("PRIVATE KEY-----", "a private key"),
        (CERTIFICATE, "a certificate"),
        (
            "-----BEGIN CERTIFICATE REQUEST-----",
            "a certificate request, which a CA has yet to sign",
        ),
        ("-----BEGIN X509 CRL-----", "a revocation list"),
        ("PUBLIC KEY-----", "a public key"),
        (
            "-----BEGIN PKCS7-----",
            "PKCS#7 data (take the certificates out with: openssl pkcs7 -print_certs)",
        ),
        (
            "-----BEGIN TRUSTED CERTIFICATE-----",
            "a certificate in OpenSSL's own form (write it anew with: openssl x509)",
        ),
        ("-----BEGIN", "another kind of PEM data"),
    ];
    if bytes.is_empty() {
        return "an empty file";
    }
    if let Some((_, what)) = marks.iter().find(|(mark, _)| contains(bytes, mark)) {
        return what;
    }
    if X509::from_der(bytes).is_ok() {
        "a certificate"
    } else if PKey::private_key_from_der(bytes).is_ok() {
        "a private key"
    } else {
        "neither PEM nor DER"
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}
