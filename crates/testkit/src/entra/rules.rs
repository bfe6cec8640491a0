//! The steps of the OBO page and of the autonomous page.

use serde_json::{Value, json};

use super::{State, TENANT, Told, assertion::typed, directory::RESOURCE, form::Form, refusal::Refused};
use crate::Seen;

/// The scope of step 1. OBO page: `api://AzureADTokenExchange/.default`.
const EXCHANGE_SCOPE: &str = "api://AzureADTokenExchange/.default";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const DELEGATED: [&str; 2] = ["Files.Read", "Files.Write"];

const STEP_1: &[&str] = &[
    "client_id",
    "scope",
    "fmi_path",
    "client_assertion_type",
    "client_assertion",
    "client_secret",
    "grant_type",
];
const STEP_2A: &[&str] = &[
    "client_id",
    "scope",
    "client_assertion_type",
    "client_assertion",
    "grant_type",
    "assertion",
    "requested_token_use",
];
const STEP_2B: &[&str] = &["client_id", "scope", "client_assertion_type", "client_assertion", "grant_type"];

impl State {
    pub(super) fn token(&self, tenant: &str, seen: &Seen) -> Told<Value> {
        // OBO page: agent identities are single-tenant, so the endpoint is the one of their home tenant; no `common`.
        if tenant != TENANT {
            return Err(Refused::request(90_002, format!("Tenant '{tenant}' not found.")));
        }
        let form = Form::of(seen)?;
        let client = form.required("client_id")?;
        let (is_blueprint, parent) = {
            let directory = self.directory();
            (directory.is_blueprint(client), directory.parent(client))
        };
        match parent {
            Some(parent) => self.step_2(client, parent, &form),
            None if is_blueprint => self.step_1(client, &form),
            None => {
                let text = format!("Application with identifier '{client}' was not found in the directory.");
                Err(Refused::new(400, "unauthorized_client", 700_016, text))
            }
        }
    }

    /// OBO and autonomous page, step 1: the blueprint gets an exchange token T1 for the child that `fmi_path` names.
    fn step_1(&self, blueprint: &str, form: &Form) -> Told<Value> {
        form.only(STEP_1)?;
        if form.required("grant_type")? != "client_credentials" {
            return Err(unsupported_grant());
        }
        self.authenticate(blueprint, form)?;
        if form.required("scope")? != EXCHANGE_SCOPE {
            return Err(Refused::scope(
                70_011,
                "The provided value for the input parameter 'scope' is not valid.",
            ));
        }
        // Autonomous page: "Agent identity blueprints can only impersonate their child agent identities."
        let child = form.required("fmi_path")?;
        if self.directory().parent(child) != Some(blueprint) {
            let text = "The agent identity in 'fmi_path' is not a child of the blueprint.";
            return Err(Refused::new(400, "unauthorized_client", 700_016, text));
        }
        Ok(answered(self.exchange_token(blueprint, child)))
    }

    /// Step 2: the agent identity, which holds no credential of its own, authenticates with T1.
    fn step_2(&self, agent: &str, parent: &str, form: &Form) -> Told<Value> {
        // The grant types that agents are documented to have: client_credentials, jwt-bearer and refresh_token, and of the
        // last one there is none where `offline_access` was not asked for.
        let grant = form.required("grant_type")?;
        let documented = match grant {
            JWT_BEARER => STEP_2A,
            "client_credentials" => STEP_2B,
            _ => return Err(unsupported_grant()),
        };
        form.only(documented)?;
        typed(form)?;
        let exchange = form.required("client_assertion")?;
        let claims = self.keys.verified(exchange);
        let claims = claims
            .ok_or_else(|| Refused::client(700_027, "Client assertion failed signature validation."))?;
        // OBO page, step 2: "Microsoft Entra validates that T1.aud == agent identity's parent app == blueprint client ID".
        if claims["aud"] != json!(parent) || claims["fmi"] != json!(agent) {
            return Err(Refused::client(700_213, "The exchange token is not one for this agent identity."));
        }
        if claims["exp"].as_i64().is_none_or(|exp| exp <= self.now()) {
            return Err(Refused::client(700_024, "Client assertion is not within its valid time range."));
        }
        // "Blocking" is Conditional Access at token issuance.
        if self.directory().is_blocked(agent) {
            return Err(Refused::grant(53_003, "Access has been blocked by Conditional Access policies."));
        }
        let scope = form.required("scope")?;
        match grant {
            JWT_BEARER => self.on_behalf(agent, parent, scope, form),
            _ => self.autonomous(agent, parent, scope),
        }
    }

    /// OBO page, step 2: with the user's token Tc.
    fn on_behalf(&self, agent: &str, parent: &str, scope: &str, form: &Form) -> Told<Value> {
        // `v2-oauth2-on-behalf-of-flow`: "In an OBO flow, the value must be set to on_behalf_of."
        if form.required("requested_token_use")? != "on_behalf_of" {
            return Err(Refused::request(90_023, "The 'requested_token_use' must be 'on_behalf_of'."));
        }
        let user = self.keys.verified(form.required("assertion")?);
        let user = user.ok_or_else(|| Refused::grant(50_013, "Assertion failed signature validation."))?;
        // OBO page: "Tc.aud == blueprint client ID".
        if ![json!(parent), json!(format!("api://{parent}"))].contains(&user["aud"]) {
            let text = "Assertion audience does not match the Client app presenting the assertion.";
            return Err(Refused::grant(500_131, text));
        }
        if user["exp"].as_i64().is_none_or(|exp| exp <= self.now()) {
            return Err(Refused::grant(500_133, "Assertion is not within its valid time range."));
        }
        // `v2-oauth2-on-behalf-of-flow`: "app-only tokens can't be used in OBO".
        if user["idtyp"] == "app" || user["scp"].as_str().is_none_or(str::is_empty) {
            let text =
                format!("Application '{agent}' is not allowed to make application on-behalf-of calls.");
            return Err(Refused::grant(7_000_114, text));
        }
        let granted = self.delegated(agent, scope)?;
        let mut answer = answered(self.delegated_token(agent, parent, &user, &granted));
        answer["scope"] =
            json!(granted.iter().map(|name| format!("{RESOURCE}/{name}")).collect::<Vec<_>>().join(" "));
        Ok(answer)
    }

    /// Delegated scopes of one resource, each as `RESOURCE/SCOPE`, or `RESOURCE/.default` for all that was consented to.
    fn delegated(&self, agent: &str, scope: &str) -> Told<Vec<&'static str>> {
        let mut granted = Vec::new();
        for asked in scope.split(' ') {
            let name = asked.strip_prefix(RESOURCE).and_then(|rest| rest.strip_prefix('/'));
            match name {
                Some(".default") if scope == asked => granted.extend(DELEGATED),
                Some(name) => match DELEGATED.iter().find(|known| **known == name) {
                    Some(known) => granted.push(*known),
                    None => {
                        let text = format!(
                            "The provided value for the input parameter 'scope' is not valid: {asked}."
                        );
                        return Err(Refused::scope(70_011, text));
                    }
                },
                None => {
                    let text = format!("The resource principal named {asked} was not found in the tenant.");
                    return Err(Refused::new(400, "invalid_resource", 500_011, text));
                }
            }
        }
        if self.directory().has_consent(agent) {
            return Ok(granted);
        }
        let text = "The user or administrator has not consented to use the application.";
        Err(Refused::grant(65_001, text).because("consent_required"))
    }

    /// Autonomous page, step 2: `scope=<resource>/.default`.
    fn autonomous(&self, agent: &str, parent: &str, scope: &str) -> Told<Value> {
        let Some(resource) = scope.strip_suffix("/.default") else {
            let text = "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier.";
            return Err(Refused::scope(1_002_012, text));
        };
        if resource != RESOURCE {
            let text = format!("The resource principal named {resource} was not found in the tenant.");
            return Err(Refused::new(400, "invalid_resource", 500_011, text));
        }
        Ok(answered(self.application_token(agent, parent)))
    }
}

fn unsupported_grant() -> Refused {
    Refused::new(400, "unsupported_grant_type", 70_003, "The app returned an unsupported grant type.")
}

/// `v2-oauth2-client-creds-grant-flow`, "Successful response".
fn answered(token: String) -> Value {
    json!({ "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token })
}
