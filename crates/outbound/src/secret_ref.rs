use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Largest secret, in bytes.
pub const SECRET_MAX_BYTES: u64 = 64 << 10;

/// What a secret of the vault is called.
const VAULT_NAME_RULE: &str = "the name of a secret in the vault is `[a-z0-9][a-z0-9._-]{0,63}`";

/// Where a secret lies: `{ file: PATH }`, `{ env: NAME }` or `{ vault: NAME }`. A configuration never holds the secret itself, because
/// configurations are shown, compared and kept in repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecretRef {
    /// A file, read again while the gateway runs, so that the secret can be rotated. Line ends at its end are not part
    /// of the secret.
    File(PathBuf),
    /// A variable of the gateway's environment.
    Env(String),
    /// A secret that the gateway keeps, sealed: `vestibule secret set NAME`. It may be set later and changed at any time.
    Vault(String),
}

impl SecretRef {
    /// Checks what a secret of the vault is called.
    ///
    /// # Errors
    /// The rule.
    pub fn check_vault_name(name: &str) -> Result<(), &'static str> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = name.len() <= 64
            && name.bytes().next().is_some_and(inner)
            && name.bytes().all(|b| inner(b) || matches!(b, b'.' | b'_' | b'-'));
        if fits { Ok(()) } else { Err(VAULT_NAME_RULE) }
    }

    /// The same reference, with a relative path starting at `folder`.
    #[must_use]
    pub fn resolved(&self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            Self::Env(name) => Self::Env(name.clone()),
            Self::Vault(name) => Self::Vault(name.clone()),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file `{}`", path.display()),
            Self::Env(name) => write!(f, "environment variable `{name}`"),
            Self::Vault(name) => write!(f, "vault secret `{name}`"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReferenceOnly)
    }
}

/// Takes a map and refuses everything that could be the secret itself, without quoting it.
struct ReferenceOnly;

/// What is said of a secret that stands where a reference belongs. Whoever shows it shows no excerpt of the file with it:
/// the secret is in there.
pub const LITERAL_SECRET: &str =
    "a secret is given by reference, `{ file: PATH }`, `{ env: NAME }` or `{ vault: NAME }`, never as itself";

impl<'de> Visitor<'de> for ReferenceOnly {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`{ file: PATH }`, `{ env: NAME }` or `{ vault: NAME }`")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretRef, A::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Written {
            File(PathBuf),
            Env(String),
            Vault(String),
        }
        match Written::deserialize(MapAccessDeserializer::new(map))? {
            Written::File(path) if path.as_os_str().is_empty() => Err(A::Error::custom("the path is empty")),
            Written::File(path) => Ok(SecretRef::File(path)),
            Written::Env(name) if name.is_empty() || name.contains(['=', '\0']) => {
                Err(A::Error::custom("this cannot be the name of an environment variable"))
            }
            Written::Env(name) => Ok(SecretRef::Env(name)),
            Written::Vault(name) => match SecretRef::check_vault_name(&name) {
                Ok(()) => Ok(SecretRef::Vault(name)),
                // Not quoted: it could be the secret itself.
                Err(rule) => Err(A::Error::custom(rule)),
            },
        }
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<SecretRef, E> {
        Err(E::custom(LITERAL_SECRET))
    }
}

/// Why a secret cannot be read. Names the place, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{place} cannot be read")]
    Read {
        /// Where it should be.
        place: SecretRef,
        /// Why not.
        source: io::Error,
    },
    /// The variable is not set.
    #[error("{place} is not set")]
    NotSet {
        /// Where it should be.
        place: SecretRef,
    },
    /// The vault has no secret of that name.
    #[error("{place} is not set: `vestibule secret set` sets it")]
    NotInVault {
        /// Where it should be.
        place: SecretRef,
    },
    /// There is something else than a secret.
    #[error("{place} {rule}")]
    Unusable {
        /// Where it is.
        place: SecretRef,
        /// What a secret must be.
        rule: &'static str,
    },
}

/// The secrets that the gateway keeps. In memory, so it is asked on the threads that serve.
pub trait VaultSecrets: fmt::Debug + Send + Sync {
    /// The secret of that name as it is now, if there is one.
    ///
    /// # Errors
    /// The rule that is broken, when there is one and it cannot be used.
    fn secret(&self, name: &str) -> Result<Option<SecretString>, &'static str>;
}

/// Reads secrets. The environment is handed in, because only the command line may look at it.
#[derive(Debug, Clone)]
pub struct Secrets {
    env: fn(&str) -> Option<String>,
    vault: Option<Arc<dyn VaultSecrets>>,
}

impl Secrets {
    /// A reader that looks up environment variables with `env`.
    #[must_use]
    pub fn new(env: fn(&str) -> Option<String>) -> Self {
        Self { env, vault: None }
    }

    /// The same, with the secrets of a vault.
    #[must_use]
    pub fn with_vault(self, vault: Arc<dyn VaultSecrets>) -> Self {
        Self { vault: Some(vault), ..self }
    }

    /// The secret as it is now: UTF-8, 1 byte to 64 KiB, without the line ends at its end. Blocks while a file is
    /// read.
    ///
    /// At a start, no failure about a [`SecretRef::Vault`] is a reason to stop: only a gateway that runs can be given the
    /// secret.
    ///
    /// # Errors
    /// [`SecretError`] when there is none, or something that cannot be one.
    pub fn read(&self, place: &SecretRef) -> Result<SecretString, SecretError> {
        let unusable = |rule| SecretError::Unusable { place: place.clone(), rule };
        let mut text = match place {
            SecretRef::Env(name) => {
                (self.env)(name).ok_or_else(|| SecretError::NotSet { place: place.clone() })?
            }
            SecretRef::File(path) => {
                let bytes = read_bounded(path)
                    .map_err(|source| SecretError::Read { place: place.clone(), source })?
                    .ok_or_else(|| unusable("is larger than 64 KiB"))?;
                String::from_utf8(bytes).map_err(|_| unusable("is not UTF-8 text"))?
            }
            SecretRef::Vault(name) => {
                let held = self.vault.as_ref().map(|vault| vault.secret(name)).transpose();
                let held = held.map_err(unusable)?.flatten();
                return held.ok_or_else(|| SecretError::NotInVault { place: place.clone() });
            }
        };
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        if text.is_empty() {
            return Err(unusable("is empty"));
        }
        Ok(SecretString::from(text))
    }
}

/// The content of a file, or nothing when it is too large.
fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(SECRET_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok((read as u64 <= SECRET_MAX_BYTES).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn secrets() -> Secrets {
        Secrets::new(|name| (name == "TOKEN").then(|| "from-env\n".to_owned()))
    }

    #[test]
    fn a_reference_is_read_from_yaml() {
        let parse = |yaml: &str| serde_saphyr::from_str::<SecretRef>(yaml).unwrap();
        assert_eq!(parse("file: a/b.txt"), SecretRef::File("a/b.txt".into()));
        assert_eq!(parse("{ env: TOKEN }"), SecretRef::Env("TOKEN".into()));
        assert_eq!(parse("{ vault: a.b-1_c }"), SecretRef::Vault("a.b-1_c".into()));
    }

    #[test]
    fn a_literal_secret_is_an_error_that_says_how_to_refer() {
        for literal in ["hunter2", "\"hunter2\"", "12345678", "-12345678", "12345678.5", "true"] {
            // JSON first: its errors have no excerpt of the file, so what is quoted is what this type quotes.
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(literal) {
                let message = serde_json::from_value::<SecretRef>(value).unwrap_err().to_string();
                assert_eq!(message, LITERAL_SECRET, "{literal}");
            }
            let message = serde_saphyr::from_str::<SecretRef>(literal).unwrap_err().to_string();
            assert!(message.contains("by reference"), "{literal}: {message}");
        }
    }

    #[test]
    fn an_unknown_kind_two_kinds_and_an_empty_place_are_errors() {
        for yaml in [
            "bank: a",
            "{ file: a, env: B }",
            "{ vault: a, env: B }",
            "file: ''",
            "env: ''",
            "env: A=B",
            "[a]",
        ] {
            assert!(serde_saphyr::from_str::<SecretRef>(yaml).is_err(), "{yaml}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_in_the_vault_is_refused_and_not_quoted() {
        for name in ["", "Hunter2", "-a", ".a", "a/b", "a b", "\u{fc}", &"a".repeat(65)] {
            let json = serde_json::json!({ "vault": name });
            let message = serde_json::from_value::<SecretRef>(json).unwrap_err().to_string();
            assert_eq!(message, VAULT_NAME_RULE, "{name}");
        }
        assert!(SecretRef::check_vault_name(&"a".repeat(64)).is_ok());
    }

    #[derive(Debug)]
    struct One;

    impl VaultSecrets for One {
        fn secret(&self, name: &str) -> Result<Option<SecretString>, &'static str> {
            match name {
                "one" => Ok(Some(SecretString::from("kept"))),
                "broken" => Err("does not open"),
                _ => Ok(None),
            }
        }
    }

    #[test]
    fn a_secret_of_the_vault_is_read_from_it_and_one_that_is_not_there_says_how_to_set_it() {
        let place = |name: &str| SecretRef::Vault(name.to_owned());
        let with = secrets().with_vault(Arc::new(One));
        assert_eq!(with.read(&place("one")).unwrap().expose_secret(), "kept");
        let error = with.read(&place("broken")).unwrap_err().to_string();
        assert_eq!(error, "vault secret `broken` does not open");
        for secrets in [with, secrets()] {
            let error = secrets.read(&place("none")).unwrap_err();
            assert!(matches!(error, SecretError::NotInVault { .. }));
            assert_eq!(error.to_string(), "vault secret `none` is not set: `vestibule secret set` sets it");
        }
    }

    #[test]
    fn the_line_end_at_the_end_is_not_part_of_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, " a b \r\n\n").unwrap();
        let place = SecretRef::File("secret".into()).resolved(folder.path());
        assert_eq!(secrets().read(&place).unwrap().expose_secret(), " a b ");
        assert_eq!(secrets().read(&SecretRef::Env("TOKEN".into())).unwrap().expose_secret(), "from-env");
    }

    #[test]
    fn what_cannot_be_a_secret_is_an_error_that_names_the_place_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            SecretRef::File(path)
        };
        let largest = file("largest", &vec![b'a'; 64 << 10]);
        assert!(secrets().read(&largest).is_ok());
        for (place, rule) in [
            (file("too-large", &vec![b'a'; (64 << 10) + 1]), "is larger than 64 KiB"),
            (file("binary", b"hunter2\xff"), "is not UTF-8 text"),
            (file("empty", b"\n"), "is empty"),
            (SecretRef::File(folder.path().join("missing")), "cannot be read"),
            (SecretRef::Env("OTHER".into()), "is not set"),
        ] {
            let error = secrets().read(&place).unwrap_err();
            assert_eq!(error.to_string(), format!("{place} {rule}"));
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
