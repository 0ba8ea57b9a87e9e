//! TLS: verification of the server, and the client certificate. Files have the names of redis-cli's options.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::address::Tls;
use crate::client::wire::Socket;

/// Reads the files, before any connection is opened.
pub(crate) fn connector(tls: &Tls) -> Result<TlsConnector, String> {
    config(tls).map(|config| TlsConnector::from(Arc::new(config)))
}

/// Starts TLS on a connection.
pub(crate) async fn secured(
    connector: TlsConnector,
    tls: &Tls,
    host: &str,
    stream: Socket,
) -> Result<TlsStream<Socket>, String> {
    let name = tls.sni.as_deref().unwrap_or(host);
    let server = ServerName::try_from(name.to_owned()).map_err(|e| format!("TLS for {name}: {e}"))?;
    connector.connect(server, stream).await.map_err(|error| {
        let message = error.to_string();
        let authority = tls.cacert.as_deref().unwrap_or("an authority of this host");
        let hint = match () {
            () if message.contains("UnknownIssuer") => {
                format!(": the server's certificate is not signed by {authority} (?cacert=FILE sets another)")
            }
            () if message.contains("not valid for name") || message.contains("NotValidForName") => {
                format!(": the server's certificate is not for {name} (?sni=NAME sets the expected name)")
            }
            () => String::new(),
        };
        format!("TLS: {message}{hint}")
    })
}

fn config(tls: &Tls) -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = match tls.insecure {
        true => builder.dangerous().with_custom_certificate_verifier(Arc::new(insecure::Anything(provider))),
        false => builder.with_root_certificates(roots(tls)?),
    };
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates("cert", cert)?;
    // The errors may quote their input; never show a key.
    std::fs::metadata(key).map_err(|e| format!("key {key}: {e}"))?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|_| format!("key {key}: not a PEM private key without passphrase"))?;
    builder
        .with_client_auth_cert(chain, secret)
        .map_err(|e| format!("cert {cert} and key {key} are not a valid client certificate: {e}"))
}

fn roots(tls: &Tls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match &tls.cacert {
        Some(file) => {
            for certificate in certificates("cacert", file)? {
                roots.add(certificate).map_err(|e| format!("cacert {file}: {e}"))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(
                    "this host has no certificate authorities; install ca-certificates or set ?cacert=FILE"
                        .to_owned(),
                );
            }
        }
    }
    Ok(roots)
}

fn certificates(option: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    std::fs::metadata(file).map_err(|e| format!("{option} {file}: {e}"))?;
    let read = CertificateDer::pem_file_iter(file).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    match read {
        Ok(found) if found.is_empty() => Err(format!("{option} {file}: contains no PEM certificate")),
        // The input may be a key, if the files were confused: do not quote it.
        Err(_) => Err(format!("{option} {file}: not PEM certificates")),
        Ok(found) => Ok(found),
    }
}

mod insecure {
    //! A verifier that accepts any certificate, for `insecure=true`.

    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct Anything(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for Anything {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
