//! TLS from files, read again when they change. A pair that does not load keeps the last good one in use.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;
use vestibule_model::Digest;

use crate::config::TlsConfig;

/// Why a certificate or key is not usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot use `{file}`: {cause}")]
    File { file: String, cause: String },
    #[error("certificate and key do not belong together")]
    Pair(#[source] rustls::Error),
}

#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsConfig,
    current: ArcSwap<(Digest, Arc<ServerConfig>)>,
}

impl Tls {
    pub(crate) fn load(files: TlsConfig) -> Result<Arc<Self>, TlsError> {
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Arc::new(Self { files, current }))
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().1))
    }

    /// Reads the files again and swaps when they have changed. Called every second.
    pub(crate) fn refresh(&self) {
        match read(&self.files) {
            Ok((digest, _)) if digest == self.current.load().0 => {}
            Ok(fresh) => {
                self.current.store(Arc::new(fresh));
                tracing::info!(cert = %self.files.cert.display(), "certificate reloaded");
            }
            Err(error) => {
                tracing::error!(%error, "the certificate cannot be reloaded, the last good one stays")
            }
        }
    }
}

fn read(files: &TlsConfig) -> Result<(Digest, Arc<ServerConfig>), TlsError> {
    let fault = |path: &Path, cause: String| TlsError::File { file: path.display().to_string(), cause };
    let cert = std::fs::read(&files.cert).map_err(|error| fault(&files.cert, error.to_string()))?;
    let key = std::fs::read(&files.key).map_err(|error| fault(&files.key, error.to_string()))?;
    let digest = Digest::of(&[cert.as_slice(), key.as_slice()].concat());
    let chain = CertificateDer::pem_slice_iter(&cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fault(&files.cert, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| fault(&files.key, error.to_string()))?;
    let mut config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((digest, Arc::new(config)))
}
