use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Largest secret, in bytes.
const SECRET_MAX_BYTES: u64 = 64 << 10;

/// Where a secret lies: `{ file: PATH }` or `{ env: NAME }`. A configuration never holds the secret itself, because
/// configurations are shown, compared and kept in repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecretRef {
    /// A file, read again while the gateway runs, so that the secret can be rotated. Line ends at its end are not part
    /// of the secret.
    File(PathBuf),
    /// A variable of the gateway's environment.
    Env(String),
}

impl SecretRef {
    /// The same reference, with a relative path starting at `folder`.
    #[must_use]
    pub fn resolved(&self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            Self::Env(name) => Self::Env(name.clone()),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file `{}`", path.display()),
            Self::Env(name) => write!(f, "environment variable `{name}`"),
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
    "a secret is given by reference, `{ file: PATH }` or `{ env: NAME }`, never as itself";

impl<'de> Visitor<'de> for ReferenceOnly {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`{ file: PATH }` or `{ env: NAME }`")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretRef, A::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Written {
            File(PathBuf),
            Env(String),
        }
        match Written::deserialize(MapAccessDeserializer::new(map))? {
            Written::File(path) if path.as_os_str().is_empty() => Err(A::Error::custom("the path is empty")),
            Written::File(path) => Ok(SecretRef::File(path)),
            Written::Env(name) if name.is_empty() || name.contains(['=', '\0']) => {
                Err(A::Error::custom("this cannot be the name of an environment variable"))
            }
            Written::Env(name) => Ok(SecretRef::Env(name)),
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
    /// There is something else than a secret.
    #[error("{place} {rule}")]
    Unusable {
        /// Where it is.
        place: SecretRef,
        /// What a secret must be.
        rule: &'static str,
    },
}

/// Reads secrets. The environment is handed in, because only the command line may look at it.
#[derive(Debug, Clone, Copy)]
pub struct Secrets {
    env: fn(&str) -> Option<String>,
}

impl Secrets {
    /// A reader that looks up environment variables with `env`.
    #[must_use]
    pub fn new(env: fn(&str) -> Option<String>) -> Self {
        Self { env }
    }

    /// The secret as it is now: UTF-8, 1 byte to 64 KiB, without the line ends at its end. Blocks while a file is
    /// read.
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
        for yaml in ["vault: a", "{ file: a, env: B }", "file: ''", "env: ''", "env: A=B", "[a]"] {
            assert!(serde_saphyr::from_str::<SecretRef>(yaml).is_err(), "{yaml}");
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
