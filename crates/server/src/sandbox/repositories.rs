//! The sandbox's data: repositories by name, in the order they were created.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

const REPOSITORIES_MAX: usize = 1_000;
const DESCRIPTION_MAX_CHARS: usize = 1_000;

/// A name by `[a-z0-9][a-z0-9-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Name(String);

impl Name {
    /// The grammar, for the schema of a tool.
    pub(super) const PATTERN: &'static str = "^[a-z0-9][a-z0-9-]{0,63}$";
}

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let starts_well = text.bytes().next().is_some_and(is_word);
        if starts_well && text.len() <= 64 && text.bytes().all(|byte| is_word(byte) || byte == b'-') {
            Ok(Self(text))
        } else {
            Err("a repository's name is 1 to 64 of a-z, 0-9 and `-`, and does not start with `-`")
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Description(String);

impl TryFrom<String> for Description {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.chars().count() <= DESCRIPTION_MAX_CHARS {
            Ok(Self(text))
        } else {
            Err("a description has at most 1000 characters")
        }
    }
}

/// What is created, kept and listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Repository {
    pub(super) name: Name,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    description: Description,
}

/// Why a repository could not be created or deleted.
#[derive(Debug, thiserror::Error)]
pub(super) enum RepositoryError {
    #[error("there is no repository `{0}`")]
    Unknown(Name),
    #[error("the repository `{0}` exists already")]
    Exists(Name),
    #[error("the sandbox holds {REPOSITORIES_MAX} repositories and takes no more")]
    Full,
}

#[derive(Debug)]
pub(super) struct Repositories(Mutex<Vec<Repository>>);

impl Repositories {
    pub(super) fn seeded() -> Self {
        let seed = |name: &str, private, description: &str| Repository {
            name: Name(name.to_owned()),
            private,
            description: Description(description.to_owned()),
        };
        Self(Mutex::new(vec![
            seed("hello-world", false, "A first repository"),
            seed("payroll", true, "Who earns how much"),
        ]))
    }

    pub(super) fn list(&self) -> Vec<Repository> {
        self.all().clone()
    }

    pub(super) fn create(&self, repository: &Repository) -> Result<(), RepositoryError> {
        let mut all = self.all();
        if all.iter().any(|known| known.name == repository.name) {
            return Err(RepositoryError::Exists(repository.name.clone()));
        }
        if all.len() >= REPOSITORIES_MAX {
            return Err(RepositoryError::Full);
        }
        all.push(repository.clone());
        Ok(())
    }

    pub(super) fn delete(&self, name: &Name) -> Result<(), RepositoryError> {
        let mut all = self.all();
        let place = all.iter().position(|known| known.name == *name);
        all.remove(place.ok_or_else(|| RepositoryError::Unknown(name.clone()))?);
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, Vec<Repository>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str) -> Repository {
        serde_json::from_value(serde_json::json!({ "name": name })).unwrap()
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        for name in ["", "-a", "A", "a_b", "a/b", "é", &"a".repeat(65)] {
            assert!(Name::try_from(name.to_owned()).is_err(), "{name}");
        }
        for name in ["a", "0-", &"a".repeat(64)] {
            assert!(Name::try_from(name.to_owned()).is_ok(), "{name}");
        }
    }

    #[test]
    fn repositories_are_listed_in_the_order_of_their_creation() {
        let repositories = Repositories::seeded();
        repositories.create(&repository("a")).unwrap();
        repositories.delete(&Name("hello-world".to_owned())).unwrap();
        let names: Vec<_> = repositories.list().into_iter().map(|known| known.name.0).collect();
        assert_eq!(names, ["payroll", "a"]);
    }

    #[test]
    fn full_sandbox_takes_no_more() {
        let repositories = Repositories::seeded();
        for number in 2..REPOSITORIES_MAX {
            repositories.create(&repository(&format!("r{number}"))).unwrap();
        }
        let refused = repositories.create(&repository("one-more"));
        assert!(matches!(refused, Err(RepositoryError::Full)));
        assert_eq!(repositories.list().len(), REPOSITORIES_MAX);
    }
}
