//! What the tokens say: the claims page.

use serde_json::{Value, json};

use super::{
    State, TENANT,
    assertion::replaced,
    directory::{BLUEPRINT, RESOURCE},
    lock,
};

const HOUR_SECONDS: i64 = 3599;

impl State {
    /// T1. OBO page: its `aud` is what step 2 compares with the agent identity's parent.
    pub(super) fn exchange_token(&self, blueprint: &str, child: &str) -> String {
        let mut claims = self.common();
        claims["aud"] = json!(blueprint);
        claims["azp"] = json!(blueprint);
        claims["sub"] = json!(format!("/eid1/c/pub/t/{TENANT}/a/{blueprint}/{child}"));
        claims["fmi"] = json!(child);
        self.keys.sign(&claims)
    }

    /// Tc: the user signed in to a client of the blueprint.
    pub(super) fn user_token(&self, oid: &str, with: &Value) -> String {
        let mut claims = self.common();
        claims["aud"] = json!(format!("api://{BLUEPRINT}"));
        claims["azp"] = json!("99998888-7777-6666-5555-444433332222");
        claims["oid"] = json!(oid);
        claims["sub"] = json!(format!("pairwise-{oid}"));
        claims["scp"] = json!("access_as_user");
        claims["idtyp"] = json!("user");
        claims["sid"] = json!("session");
        self.keys.sign(&replaced(claims, with))
    }

    /// Claims page, on behalf of a user: `oid` the human, `azp` the agent identity, `xms_act_fct` has 11 (AgentIdentity),
    /// `xms_par_app_azp` the blueprint. Numbers of a claim stand beside each other, in no order.
    pub(super) fn delegated_token(&self, agent: &str, parent: &str, user: &Value, scopes: &[&str]) -> String {
        let mut claims = self.resource(agent, parent);
        claims["idtyp"] = json!("user");
        claims["oid"] = user["oid"].clone();
        claims["sub"] =
            json!(format!("pairwise-at-the-resource-{}", user["oid"].as_str().unwrap_or_default()));
        claims["scp"] = json!(scopes.join(" "));
        claims["xms_idrel"] = json!("1 12");
        self.keys.sign(&replaced(claims, &lock(&self.meddling)))
    }

    /// Claims page, autonomous: `oid` and `azp` the agent identity, `roles`, `xms_sub_fct` has 11, too.
    pub(super) fn application_token(&self, agent: &str, parent: &str) -> String {
        let mut claims = self.resource(agent, parent);
        claims["idtyp"] = json!("app");
        claims["oid"] = json!(agent);
        claims["sub"] = json!(agent);
        claims["roles"] = json!(["Files.Read.All"]);
        claims["xms_sub_fct"] = json!("3 11");
        claims["xms_idrel"] = json!("7");
        self.keys.sign(&replaced(claims, &lock(&self.meddling)))
    }

    fn resource(&self, agent: &str, parent: &str) -> Value {
        let mut claims = self.common();
        claims["aud"] = json!(RESOURCE);
        claims["azp"] = json!(agent);
        claims["azpacr"] = json!("2");
        claims["xms_act_fct"] = json!("9 3 11");
        claims["xms_par_app_azp"] = json!(parent);
        claims
    }

    fn common(&self) -> Value {
        let now = self.now();
        json!({
            "iss": format!("{}/{TENANT}/v2.0", self.authority()), "tid": TENANT, "ver": "2.0",
            "iat": now, "nbf": now, "exp": now + HOUR_SECONDS, "uti": format!("uti-{now}"),
        })
    }
}
