//! TLS by rustls, with the semantics of libpq's `sslmode`.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::SslMode;
use crate::Error;

/// Files given by libpq's parameters.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsFiles {
    /// `sslrootcert`: trusted authorities; `None` and `system` select those of the host.
    pub(super) root: Option<String>,
    /// `sslcert`: the client certificate.
    pub(super) certificate: Option<String>,
    /// `sslkey`: the key of the client certificate.
    pub(super) key: Option<String>,
}

/// A TLS connector for a mode that uses TLS.
pub(super) fn connector(mode: SslMode, files: &TlsFiles) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::options(format!("TLS cannot be set up: {e}")))?;
    // As in libpq, `require` verifies the authority if a root certificate is given.
    let verify = match mode {
        SslMode::VerifyFull => Verify::Full,
        SslMode::VerifyCa => Verify::Authority,
        _ if files.root.as_deref().is_some_and(|root| root != "system") => Verify::Authority,
        _ => Verify::Nothing,
    };
    let verifier: Arc<dyn ServerCertVerifier> = match verify {
        Verify::Nothing => Arc::new(WithoutHostname { provider, authority: None }),
        Verify::Full | Verify::Authority => {
            let roots = roots(files)?;
            let web = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|e| Error::options(format!("sslrootcert cannot be used: {e}")))?;
            if verify == Verify::Full {
                web
            } else {
                Arc::new(WithoutHostname { provider, authority: Some(web) })
            }
        }
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
                .map_err(|e| Error::options(format!("sslcert {certificate}: {e}")))?
                .collect();
            let chain = chain.map_err(|e| Error::options(format!("sslcert {certificate}: {e}")))?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|e| Error::options(format!("sslkey {key}: {e}")))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| Error::options(format!("sslcert and sslkey do not match: {e}")))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

#[derive(PartialEq, Eq)]
enum Verify {
    Nothing,
    Authority,
    Full,
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match files.root.as_deref() {
        None | Some("system") => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(Error::options(
                    "the host has no certificate authorities; install ca-certificates or set sslrootcert"
                        .to_owned(),
                ));
            }
        }
        Some(file) => {
            let failed = |e: &dyn std::fmt::Display| Error::options(format!("sslrootcert {file}: {e}"));
            for certificate in CertificateDer::pem_file_iter(file).map_err(|e| failed(&e))? {
                roots.add(certificate.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
            }
        }
    }
    Ok(roots)
}

/// The verification below `verify-full`: the authority if one is given, but never the host name.
#[derive(Debug)]
struct WithoutHostname {
    provider: Arc<CryptoProvider>,
    authority: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for WithoutHostname {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        match authority.verify_server_cert(end_entity, intermediates, server_name, ocsp, now) {
            // The name is checked last, so this error means that all other checks passed.
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
