use std::sync::Arc;

use rustls::{ClientConfig, ConfigBuilder, RootCertStore, client::WantsClientCert};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use rustls_platform_verifier::Verifier;

use crate::{ClientCertificate, EgressError, certificate};

/// Whose certificates are believed.
#[derive(Debug, Clone)]
pub struct Trust {
    system: bool,
    extra: Vec<CertificateDer<'static>>,
}

impl Default for Trust {
    /// What the operating system trusts.
    fn default() -> Self {
        Self { system: true, extra: Vec::new() }
    }
}

impl Trust {
    /// What the operating system trusts, and the certificates in `pem`.
    ///
    /// # Errors
    /// [`EgressError::Trust`] when `pem` holds no certificate or one that cannot be read.
    pub fn system_and(pem: &[u8]) -> Result<Self, EgressError> {
        Ok(Self { system: true, extra: certificates(pem)? })
    }

    /// The certificates in `pem` and no other.
    ///
    /// # Errors
    /// As [`Trust::system_and`].
    pub fn only(pem: &[u8]) -> Result<Self, EgressError> {
        Ok(Self { system: false, extra: certificates(pem)? })
    }

    pub(crate) fn client_config(
        self,
        certificate: Option<ClientCertificate>,
    ) -> Result<ClientConfig, EgressError> {
        let builder = self.verifying()?;
        match certificate {
            None => Ok(builder.with_no_client_auth()),
            Some(ClientCertificate { chain, key }) => {
                builder.with_client_auth_cert(chain, key).map_err(certificate::unusable)
            }
        }
    }

    fn verifying(self) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, EgressError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        if self.system {
            match Verifier::new_with_extra_roots(self.extra.iter().cloned(), provider) {
                Ok(verifier) => {
                    return Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)));
                }
                // A slim container has no trust store. Applications on plain HTTP still work there, and every TLS
                // handshake fails for want of a trusted issuer.
                Err(error) if self.extra.is_empty() => {
                    tracing::warn!(%error, "the system has no trust store: no TLS server will be believed");
                }
                Err(error) => return Err(unusable(error)),
            }
        }
        let mut roots = RootCertStore::empty();
        for certificate in self.extra {
            roots.add(certificate).map_err(unusable)?;
        }
        Ok(builder.with_root_certificates(roots))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, EgressError> {
    let certificates =
        CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(unusable)?;
    if certificates.is_empty() {
        return Err(unusable("no certificate in the PEM text"));
    }
    Ok(certificates)
}

fn unusable(reason: impl ToString) -> EgressError {
    EgressError::Trust { reason: reason.to_string() }
}
