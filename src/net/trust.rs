//! The CA certificates of this machine: without them no server's certificate can be verified.

/// This machine has no CA certificates that can be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "no CA certificates were found on this machine, so no TLS server can be verified ({found}): install the package \
     ca-certificates, or let SSL_CERT_FILE name a PEM file of them"
)]
pub struct NoCertificates {
    /// What was looked at, and why it gave nothing.
    found: String,
}

/// Looks for certificates where every TLS client of this process does: in the places that `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name, or else in the usual ones of the system.
///
/// # Errors
/// When there is none.
pub fn check() -> Result<(), NoCertificates> {
    let loaded = rustls_native_certs::load_native_certs();
    if !loaded.certs.is_empty() {
        return Ok(());
    }
    let faults: Vec<_> = loaded.errors.iter().map(ToString::to_string).collect();
    let found = if faults.is_empty() { "none of the usual places exists".to_owned() } else { faults.join("; ") };
    Err(NoCertificates { found })
}
