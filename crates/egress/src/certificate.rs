use std::fmt;

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::EgressError;

/// With which certificate a client shows who it is (mutual TLS). What it says and who believes it is not looked at here.
pub struct ClientCertificate {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl ClientCertificate {
    /// From PEM: the certificate with those that lead to its issuer behind it, and its private key (PKCS #8, SEC 1 or
    /// PKCS #1). That they belong together is found out by [`crate::Client::with_certificate`].
    ///
    /// # Errors
    /// [`EgressError::Certificate`], which quotes nothing of either.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, EgressError> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| unusable("the certificate is not PEM"))?;
        if chain.is_empty() {
            return Err(unusable("there is no certificate in the PEM text"));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| unusable("there is no private key in the PEM text of the key"))?;
        Ok(Self { chain, key })
    }
}

impl Clone for ClientCertificate {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// Not the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

pub(crate) fn unusable(reason: impl ToString) -> EgressError {
    EgressError::Certificate { reason: reason.to_string() }
}
