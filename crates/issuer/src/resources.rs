use std::collections::HashSet;

use vestibule_model::{Agent, AppId, Malformed};

use crate::{OAuthError, Reason};

/// What a token can be for: an application and its resource identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) app: AppId,
    pub(crate) identifier: String,
    form: String,
}

/// The resources that tokens are issued for.
#[derive(Debug)]
pub(crate) struct Resources(Vec<Resource>);

impl Resources {
    pub(crate) fn new(resources: Vec<(AppId, String)>) -> Result<Self, Malformed> {
        let mut seen = HashSet::new();
        let open = |(app, identifier): (AppId, String)| {
            let form = comparable(&identifier)
                .ok_or(Malformed { what: "resource", rule: "must be an absolute URI without a fragment" })?;
            if !seen.insert(form.clone()) {
                return Err(Malformed { what: "resource", rule: "must not be that of another application" });
            }
            Ok(Resource { app, identifier, form })
        };
        resources.into_iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// The resource of that very identifier: what a token of ours says it is for.
    pub(crate) fn of(&self, identifier: &str) -> Option<&Resource> {
        self.0.iter().find(|resource| resource.identifier == identifier)
    }

    /// Whether a request names `resource`, or none.
    ///
    /// # Errors
    /// [`Reason::TargetRepeated`], [`Reason::TargetNotOfSubject`].
    pub(crate) fn is_asked(resource: &str, asked: &[&str]) -> Result<(), OAuthError> {
        match asked {
            [] => Ok(()),
            [one] if comparable(one).is_some_and(|form| comparable(resource) == Some(form)) => Ok(()),
            [_] => Err(Reason::TargetNotOfSubject.into()),
            [_, _, ..] => Err(Reason::TargetRepeated.into()),
        }
    }

    /// The one resource that `agent` asks for (RFC 8707 §2). Naming none is enough for an agent that could mean only
    /// one.
    pub(crate) fn choose(&self, agent: &Agent, asked: &[&str]) -> Result<&Resource, OAuthError> {
        let mut allowed =
            self.0.iter().filter(|resource| agent.apps.is_empty() || agent.apps.contains(&resource.app));
        match asked {
            [] => match (allowed.next(), allowed.next()) {
                (Some(only), None) => Ok(only),
                (Some(_) | None, _) => Err(Reason::TargetMissing.into()),
            },
            [one] => comparable(one)
                .and_then(|form| allowed.find(|resource| resource.form == form))
                .ok_or_else(|| OAuthError::new(Reason::TargetNotAllowed, "not one of the agent's resources")),
            [_, _, ..] => Err(Reason::TargetRepeated.into()),
        }
    }
}

/// The form in which identifiers are compared: scheme and host in lower case, without one slash at the end. Nothing
/// else is equal to anything but itself; no decoding, no default ports.
fn comparable(identifier: &str) -> Option<String> {
    let (scheme, rest) = identifier.split_once("://")?;
    if scheme.is_empty() || identifier.contains('#') {
        return None;
    }
    let host_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(host_end)?;
    let path = path.strip_suffix('/').unwrap_or(path);
    Some(format!("{}://{}{path}", scheme.to_ascii_lowercase(), host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_differ_in_nothing_but_case_of_the_host_and_one_slash() {
        let canonical = comparable("https://gw.test/apps/A/mcp");
        for same in ["HTTPS://GW.Test/apps/A/mcp", "https://gw.test/apps/A/mcp/"] {
            assert_eq!(comparable(same), canonical, "{same}");
        }
        for other in [
            "https://gw.test/apps/a/mcp",
            "https://gw.test/apps/A/mcp//",
            "https://gw.test/apps/%41/mcp",
            "https://gw.test:443/apps/A/mcp",
            "http://gw.test/apps/A/mcp",
            "https://gw.test/apps/A/mcp?x=1",
            "https://user@gw.test/apps/A/mcp",
        ] {
            assert_ne!(comparable(other), canonical, "{other}");
        }
        assert_eq!(comparable("https://gw.test/apps/A/mcp#part"), None);
        assert_eq!(comparable("/apps/A/mcp"), None);
        assert_eq!(comparable("https://GW.test"), comparable("https://gw.test/"));
    }
}
