//! What an operator is told about a server.

use secrecy::SecretString;
use vestibule_model::{Fault, FaultKind};

use super::{AuthorizationServer, Form, metadata::Said};
use crate::ProbeStep;

/// What a strategy needs of a server.
pub(crate) struct Needs<'a> {
    /// The grant type.
    pub(crate) grant: &'a str,
    /// The scopes that it may ask for.
    pub(crate) scopes: Vec<&'a String>,
    /// Whether it asks about tokens.
    pub(crate) introspection: bool,
}

impl AuthorizationServer {
    /// Asks for the metadata and tells what they say about what is needed. What they do not list may work all the same, so
    /// that is told and fails nothing.
    pub(crate) async fn examine(&self, needs: &Needs<'_>) -> Vec<ProbeStep> {
        let endpoints = match self.within("its metadata", self.endpoints()).await {
            Ok(endpoints) => endpoints,
            Err(fault) => return vec![ProbeStep::bad("metadata", fault.cause)],
        };
        let found = match endpoints.document {
            Some(document) => format!("`{}`: {document} found", self.name()),
            None => format!("`{}`: endpoints as configured, no metadata are asked for", self.name()),
        };
        let give_back = if endpoints.revocation.is_some() { "" } else { ", no revocation endpoint" };
        let mut steps = vec![ProbeStep::good("metadata", format!("{found}{give_back}"))];
        let said = &endpoints.said;
        let methods = self.config.auth.methods();
        let listed =
            said.auth_methods.as_ref().map(|said| methods.iter().any(|method| said.contains(*method)));
        steps.push(ProbeStep::good("client auth", format!("{}{}", methods.join(" or "), in_words(listed))));
        let listed = said.grants.as_ref().map(|said| said.contains(needs.grant));
        steps.push(ProbeStep::good("grant", format!("{}{}", needs.grant, in_words(listed))));
        steps.extend(scopes(said, &needs.scopes));
        if needs.introspection && endpoints.introspection.is_none() {
            steps.push(ProbeStep::bad("introspection", "the server has no introspection endpoint"));
        }
        steps
    }

    /// Sends a request that cannot succeed, to find out whether the server knows the client and lets it use the grant. The
    /// parameters of `form` must be refused by every server that reads them.
    pub(crate) async fn try_in_vain(&self, form: Form) -> ProbeStep {
        const NAME: &str = "token request";
        match self.token(form).await {
            Ok(_) => {
                ProbeStep::bad(NAME, "the server gives a token for what is no token: it must not be trusted")
            }
            Err(Fault { kind: FaultKind::AccessUnavailable, cause, .. }) => {
                // RFC 6749 §5.2: these are about the client, and all others about what it sends.
                let is_of_client =
                    ["invalid_client", "unauthorized_client", "unsupported_grant_type", "status 401"]
                        .iter()
                        .any(|code| cause.contains(code));
                if is_of_client {
                    ProbeStep::bad(NAME, cause)
                } else {
                    ProbeStep::good(
                        NAME,
                        "the client and the grant are accepted; a token that is none is refused",
                    )
                }
            }
            Err(fault) => ProbeStep::bad(NAME, fault.cause),
        }
    }
}

/// What stands for a token in a request that must be refused.
pub(crate) fn no_token() -> SecretString {
    SecretString::from("vestibule-asks-whether-this-is-refused")
}

fn scopes(said: &Said, needed: &[&String]) -> Option<ProbeStep> {
    let said = said.scopes.as_ref().filter(|_| !needed.is_empty())?;
    let unlisted: Vec<&str> =
        needed.iter().filter(|scope| !said.contains(**scope)).map(|scope| scope.as_str()).collect();
    let detail = if unlisted.is_empty() {
        "all listed by the server".to_owned()
    } else {
        format!("not listed by the server: {}", unlisted.join(" "))
    };
    Some(ProbeStep::good("scopes", detail))
}

fn in_words(listed: Option<bool>) -> &'static str {
    match listed {
        Some(true) => ", which the server lists",
        Some(false) => ", which the server does not list",
        None => "",
    }
}
