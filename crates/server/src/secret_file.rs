//! Secrets that the gateway makes for itself on first start, in files that only its owner may read.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use vestibule_model::Entropy;
use vestibule_outbound::{SecretRef, Secrets};

use crate::{config::Settings, gateway::StartError};

/// Shortest admin token, in characters.
const ADMIN_TOKEN_MIN: usize = 32;

/// 256 random bits as text.
pub(crate) fn random_token(prefix: &str, entropy: &dyn Entropy) -> SecretString {
    let mut bytes = [0u8; 32];
    entropy.fill(&mut bytes);
    SecretString::from(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The operators' token: from where the configuration says, or from our own file, made when it is missing.
pub(crate) fn admin_token(
    settings: &Settings,
    secrets: &Secrets,
    entropy: &dyn Entropy,
) -> Result<SecretString, StartError> {
    if settings.admin_token_is_ours
        && let SecretRef::File(path) = &settings.admin_token
    {
        create(path, || random_token("vsa_", entropy).expose_secret().as_bytes().to_vec())
            .map_err(|error| broken(path, &error))?;
    }
    let token = secrets
        .read(&settings.admin_token)
        .map_err(|error| StartError::Configuration(format!("`admin.token`: {error}")))?;
    if token.expose_secret().len() < ADMIN_TOKEN_MIN {
        return Err(StartError::Configuration(format!(
            "`admin.token`: must have at least {ADMIN_TOKEN_MIN} characters"
        )));
    }
    Ok(token)
}

/// The key that seals session identifiers to their principals.
pub(crate) fn session_key(folder: &Path, entropy: &dyn Entropy) -> Result<[u8; 32], StartError> {
    let path = folder.join("session.key");
    let fresh = || {
        let mut bytes = [0u8; 32];
        entropy.fill(&mut bytes);
        bytes.to_vec()
    };
    create(&path, fresh).map_err(|error| broken(&path, &error))?;
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(33).read_to_end(&mut bytes))
        .map_err(|error| broken(&path, &error))?;
    bytes.try_into().map_err(|_| broken(&path, &io::Error::other("must hold exactly 32 bytes")))
}

/// Writes `content` to a file of mode 0600, unless the file exists.
pub(crate) fn create(path: &Path, content: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            file.write_all(&content())?;
            file.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn broken(path: &Path, error: &io::Error) -> StartError {
    StartError::Broken { what: "make a secret file", cause: format!("`{}`: {error}", path.display()) }
}
