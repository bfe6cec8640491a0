use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use vestibule_model::{Clock, OsEntropy};

use super::{
    super::{
        Stage,
        agent::Answer,
        holder::Holder,
        shown::{claims, pretty},
    },
    Backstage, WIDTH, World,
    call::{Door, Manner},
    cast::{EXCHANGE, Member, must_have, register, said, token_of},
};
use crate::{
    cli::{Failure, quickstart::USERS_KEY},
    sandbox::{Signer, UserIssuer},
};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const USER: &str = "alice";
/// The application that the human has logged in to.
const PORTAL: &str = "portal";

/// A human lets a registered agent act for her.
pub(super) async fn play(
    stage: &mut Stage<'_>,
    world: &World<'_>,
    backstage: &Backstage<'_>,
) -> Result<Member, Failure> {
    stage.scene(
        "A human logs in, and an agent acts for her",
        "Her issuer names the agent in `may_act`. What the agent gets is bound to a key that it holds.",
    );
    let id = format!("orchestrator-{}", world.suffix);
    let added = register(world, &id, None).await?;
    stage.wire(&format!("vestibule agent add {id} --group sandbox-agents --trust 1 --scope repo"));
    let secret = added.get("client_secret").and_then(Value::as_str).unwrap_or_default().to_owned();
    let user_token = login(world, backstage, &id)?;
    stage.wire(&format!("{USER} logs in at `{PORTAL}`; her ID token says"));
    stage.wire(&pretty(&claims(&user_token), WIDTH));

    let holder = Holder::new("orchestrator", Some(id), &world.entrance)?;
    let asked = |resource| exchange(&holder, &secret, &user_token, resource);
    let answer = asked(world.places.mcp.clone()).await?;
    let endpoint = holder.token_endpoint();
    stage.wire(&format!("POST {endpoint}\nDPoP: a proof by its key, for this URL, with the gateway's nonce"));
    stage.wire(&format!(
        "  grant_type=token-exchange  subject_token=the ID token\n  resource={}",
        world.places.mcp
    ));
    stage.wire(&said(&answer));
    let (mcp, http) = (token_of(&answer), token_of(&asked(world.places.http.clone()).await?));
    must_have(&mcp, "orchestrator")?;
    must_have(&http, "orchestrator")?;
    let got = claims(&mcp);
    stage.check(
        got.get("sub") == Some(&json!(USER)) && got.pointer("/act/sub") == Some(&json!(holder.id)),
        "the token is about her (`sub`), and says who acts (`act`)",
    );
    stage.check(
        got.pointer("/cnf/jkt") == Some(&json!(holder.thumbprint())),
        "it is bound to the agent's key (`cnf.jkt`)",
    );
    let thief = as_bearer(world, &mcp).await?;
    stage.check(thief == 401, "without that key it opens nothing: presented as a bearer token, 401");
    Ok(Member { holder, mcp, http })
}

/// What the human's issuer gives after a login, signed with the key in the quickstart's folder.
fn login(world: &World<'_>, backstage: &Backstage<'_>, agent: &str) -> Result<String, Failure> {
    let key = Signer::load(&backstage.dir.join(USERS_KEY)).map_err(Failure::broken)?;
    let may_act = (world.places.issuer.as_str(), agent);
    let token = UserIssuer::new(backstage.users, key)
        .id_token_for(USER, PORTAL, may_act, world.entrance.clock.now(), &OsEntropy)
        .map_err(Failure::broken)?;
    token.ok_or_else(|| Failure::Broken(format!("no user `{USER}` at the sandbox")))
}

async fn exchange(
    holder: &Holder,
    secret: &str,
    user_token: &str,
    resource: String,
) -> Result<Answer, Failure> {
    let fields = [
        ("grant_type", EXCHANGE),
        ("client_id", &holder.id),
        ("client_secret", secret),
        ("subject_token", user_token),
        ("subject_token_type", ID_TOKEN),
        ("resource", &resource),
    ];
    holder.ask(&fields, None).await
}

async fn as_bearer(world: &World<'_>, token: &str) -> Result<u16, Failure> {
    let mut request: Request<Bytes> = Door::Modern.request(world.places, Manner::Plain, 1, None)?;
    let value = format!("Bearer {token}").parse().map_err(Failure::broken)?;
    request.headers_mut().insert(http::header::AUTHORIZATION, value);
    Ok(world.entrance.send(request).await?.status().as_u16())
}
