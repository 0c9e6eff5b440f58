//! What checking client certificates needs of BoringSSL and boring has no safe call for: revocation
//! lists in a trust store, a store for clients, and a limit on what a client may send. Nothing else
//! is here; how stores are asked is for `client_auth`.

use boring::error::ErrorStack;
use boring::pkey::{PKeyRef, Public};
use boring::ssl::SslContextBuilder;
use boring::x509::store::{X509Store, X509StoreBuilder};
use boring::x509::verify::X509VerifyFlags;
use boring::x509::{X509, X509Ref};
use boring_sys as ffi;
use foreign_types::ForeignTypeRef as _;

/// A store of these certificates, each of which is an end of the search: an intermediate or a
/// client's own certificate may be trusted without its issuer. It accepts chains of clients of TLS.
pub(super) fn for_clients(anchors: &[X509]) -> Result<X509Store, ErrorStack> {
    let mut store = with_anchors(anchors)?;
    only_for_clients(&mut store)?;
    Ok(store.build())
}

/// A store of the same, which asks of a certificate only whether its issuer has taken it back.
/// What it may be used for is not looked at again: an intermediate is asked about like a leaf here.
pub(super) fn of_revocations(anchors: &[X509], lists: &[Vec<u8>]) -> Result<X509Store, ErrorStack> {
    let mut store = with_anchors(anchors)?;
    for list in lists {
        add_crl(&mut store, list)?;
    }
    store.try_set_flags(X509VerifyFlags::CRL_CHECK)?;
    Ok(store.build())
}

/// A builder of a store of the same, whatever they vouch for.
pub(super) fn with_anchors(anchors: &[X509]) -> Result<X509StoreBuilder, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for anchor in anchors {
        store.add_cert(AsRef::<X509Ref>::as_ref(anchor))?;
    }
    store.try_set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    Ok(store)
}

/// Key usage and extended key usage of the whole chain have to allow clients of TLS: what
/// BoringSSL demands when it checks a client's certificate by itself.
#[allow(unsafe_code)]
fn only_for_clients(store: &mut X509StoreBuilder) -> Result<(), ErrorStack> {
    // SAFETY: the pointer is that of a store that is borrowed for the call. The function changes a
    // number in it and keeps nothing.
    let done = unsafe { ffi::X509_STORE_set_purpose(store.as_ptr(), ffi::X509_PURPOSE_SSL_CLIENT) };
    succeeded(done)
}

/// The most that a client's certificate with all others may take, in bytes. Four certificates with
/// large keys are a quarter of it; whatever comes is kept while the connection is.
const MOST_CHAIN: usize = 32 << 10;

/// Makes handshakes fail whose client sends more than any real one has.
#[allow(unsafe_code)]
pub(super) fn limit_chains(context: &mut SslContextBuilder) {
    // SAFETY: the pointer is that of a context that is borrowed for the call. The function changes
    // a number in it and keeps nothing.
    unsafe { ffi::SSL_CTX_set_max_cert_list(context.as_ptr(), MOST_CHAIN) }
}

/// Adds a revocation list in DER.
#[allow(unsafe_code)]
fn add_crl(store: &mut X509StoreBuilder, der: &[u8]) -> Result<(), ErrorStack> {
    let list = Crl::parse(der)?;
    // SAFETY: both pointers are those of objects that are borrowed for the call. The store takes a
    // reference of its own to the list.
    succeeded(unsafe { ffi::X509_STORE_add_crl(store.as_ptr(), list.0) })
}

/// Whether BoringSSL can read a revocation list in DER.
pub(super) fn is_crl(der: &[u8]) -> Result<(), ErrorStack> {
    Crl::parse(der).map(drop)
}

/// Whether the owner of this key has signed a revocation list in DER.
#[allow(unsafe_code)]
pub(super) fn has_signed(key: &PKeyRef<Public>, der: &[u8]) -> Result<bool, ErrorStack> {
    let list = Crl::parse(der)?;
    // SAFETY: both pointers are those of objects that are borrowed for the call, which changes and
    // keeps nothing.
    let verified = unsafe { ffi::X509_CRL_verify(list.0, key.as_ptr()) };
    // What it has to say of another's signature is none of the next caller's business.
    drop(ErrorStack::get());
    Ok(verified == 1)
}

/// A revocation list that BoringSSL has read. Never null; freed once.
struct Crl(*mut ffi::X509_CRL);

impl Crl {
    #[allow(unsafe_code)]
    fn parse(der: &[u8]) -> Result<Self, ErrorStack> {
        let Ok(length) = der.len().try_into() else {
            return Err(ErrorStack::get());
        };
        let mut next = der.as_ptr();
        // SAFETY: reads at most `length` bytes from where `next` points, which is all of `der`, and
        // copies what it needs. A null first argument makes it give back an object of our own.
        let list = unsafe { ffi::d2i_X509_CRL(std::ptr::null_mut(), &raw mut next, length) };
        if list.is_null() {
            return Err(ErrorStack::get());
        }
        let list = Self(list);
        let is_all = std::ptr::eq(next, der.as_ptr_range().end);
        is_all.then_some(list).ok_or_else(ErrorStack::get)
    }
}

impl Drop for Crl {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it came from `parse`, is not null, and nobody else frees it.
        unsafe { ffi::X509_CRL_free(self.0) }
    }
}

fn succeeded(result: std::ffi::c_int) -> Result<(), ErrorStack> {
    match result {
        1 => Ok(()),
        _ => Err(ErrorStack::get()),
    }
}
