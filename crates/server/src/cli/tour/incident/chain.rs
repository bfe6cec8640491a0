use std::sync::Arc;

use serde_json::{Value, json};
use vestibule_model::AppKind;

use super::{
    super::{
        Stage,
        agent::Answer,
        holder::Holder,
        shown::{claims, pretty},
    },
    WIDTH, World,
    call::Door,
    cast::{Cast, Member, must_have, register, said, token_of},
    tree,
};
use crate::cli::{Failure, Outcome};

/// Agents spawn agents, each for a part of what they may do themselves.
pub(super) async fn play(
    stage: &mut Stage<'_>,
    world: &World<'_>,
    orchestrator: Member,
) -> Result<Cast, Failure> {
    stage.scene(
        "It spawns agents, and they spawn agents: a chain of four",
        "Each has a key of its own and gets a part of what its parent has. A token names all above it.",
    );
    let registered = ["researcher", "reviewer"].map(|name| format!("{name}-{}", world.suffix));
    for id in &registered {
        stage.wire(&format!(
            "vestibule agent add {id} --group sandbox-agents --trust 1 --scope repo --jwks …"
        ));
    }
    let [researcher, reviewer] = registered;
    let (look, stream) =
        (json!({ "list_repos": {}, "stream_progress": {} }), json!({ "stream_progress": {} }));
    let all = json!({ "list_repos": {}, "create_repo": {}, "stream_progress": {} });
    let brief = json!({ "stream_progress": { "seconds": { "range": { "min": 1, "max": 300 } } } });

    stage.wire(&format!("POST {}", orchestrator.holder.token_endpoint()));
    stage.wire("DPoP: a proof by the parent's key, over the parent's token");
    stage.wire("  grant_type=token-exchange  subject_token=the parent's token");
    stage.wire("  actor_token=a JWT by the child's key, over the parent's token  authorization_details=…");
    let mut nursery = Nursery { stage, world };
    let researcher = nursery.spawn(&orchestrator, "researcher", Some(researcher), &all).await?;
    let writer = nursery.spawn(&researcher, "writer", None, &look).await?;
    let helper = nursery.spawn(&writer, "helper", None, &brief).await?;
    let reviewer = nursery.spawn(&orchestrator, "reviewer", Some(reviewer), &look).await?;
    let checker = nursery.spawn(&reviewer, "checker", None, &stream).await?;
    let cast = Cast {
        orchestrator: Arc::new(orchestrator),
        researcher: Arc::new(researcher),
        writer: Arc::new(writer),
        helper: Arc::new(helper),
        reviewer: Arc::new(reviewer),
        checker: Arc::new(checker),
    };
    stage.wire("vestibule delegation tree");
    let trees = tree::show(stage, world, &cast).await?;
    stage.check(
        trees.len() == 2 && trees.iter().all(|tree| tree.len() == cast.all().len()),
        "two trees, one for each application, with the same six agents",
    );
    stage.wire(&format!("the token of the {}", cast.helper.holder.name));
    let token = claims(&cast.helper.mcp);
    stage.wire(&pretty(&token, WIDTH));
    let chain = [&cast.helper, &cast.writer, &cast.researcher, &cast.orchestrator];
    stage.check(
        acts(&token) == chain.map(|member| member.holder.id.clone()) && is_on_path(&token, &trees),
        "it names all four, the current one outermost (`act`), and their delegations (`vst.path`)",
    );
    Ok(cast)
}

/// Who acts, by a token: the current agent first.
fn acts(token: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut act = token.get("act");
    while let Some(actor) = act {
        found.extend(actor.get("sub").and_then(Value::as_str).map(ToOwned::to_owned));
        act = actor.get("act");
    }
    found
}

/// Whether a token names the whole path to its delegation.
fn is_on_path(token: &Value, trees: &[Vec<Value>]) -> bool {
    let node = token.pointer("/vst/node");
    let known = trees.iter().flatten().find(|known| known.get("id") == node);
    known.is_some_and(|known| known.get("path") == token.pointer("/vst/path"))
}

/// Where agents come into being.
struct Nursery<'s, 'out, 'w> {
    stage: &'s mut Stage<'out>,
    world: &'s World<'w>,
}

impl Nursery<'_, '_, '_> {
    async fn spawn(
        &mut self,
        parent: &Member,
        name: &'static str,
        registered: Option<String>,
        operations: &Value,
    ) -> Result<Member, Failure> {
        let holder = Holder::new(name, registered.clone(), &self.world.entrance)?;
        if let Some(id) = &registered {
            register(self.world, id, Some(holder.jwks())).await?;
        }
        let answer = parent.spawn(&holder, AppKind::Mcp, operations).await?;
        let over_http = parent.spawn(&holder, AppKind::Http, operations).await?;
        let child = Member { holder, mcp: token_of(&answer), http: token_of(&over_http) };
        let listed: Vec<&str> =
            operations.as_object().into_iter().flatten().map(|(name, _)| &**name).collect();
        self.stage.check(
            !child.mcp.is_empty() && !child.http.is_empty(),
            &format!("{} spawns {} for {}", parent.holder.name, child.called(), listed.join(", ")),
        );
        must_have(&child.mcp, name)?;
        must_have(&child.http, name)?;
        Ok(child)
    }
}

/// What was not handed on cannot be had.
pub(super) async fn widening(stage: &mut Stage<'_>, world: &World<'_>, cast: &Cast) -> Outcome {
    stage.scene(
        "Nothing widens on the way",
        "What a child asks for must be proven to lie within what its parent has. The rest is refused.",
    );
    let stray = Holder::new("stray", None, &world.entrance)?;
    let asked = cast.writer.spawn(&stray, AppKind::Mcp, &json!({ "create_repo": {} })).await?;
    stage.wire(&format!("writer spawns a child for create_repo\n-> {}", said(&asked)));
    stage.check(
        is_refused(&asked, "invalid_authorization_details"),
        "the researcher has it, the writer has not",
    );
    let asked = cast.helper.renew(AppKind::Mcp, Some(&json!({ "stream_progress": {} }))).await?;
    stage.wire(&format!("helper renews for any `seconds`\n-> {}", said(&asked)));
    stage.check(is_refused(&asked, "invalid_authorization_details"), "a bound on an argument stays");
    let asked = cast.helper.spawn(&stray, AppKind::Mcp, &json!({ "stream_progress": {} })).await?;
    stage.wire(&format!("helper spawns a fifth -> {}", said(&asked)));
    stage.check(asked.status == 400, "the chain is as deep as it may become");
    let params = json!({ "name": "list_repos", "arguments": {}, "_meta": {} });
    let request = Door::Modern.message(world.places, 1, "tools/call", params, None)?;
    let answer = cast.helper.holder.call(&request, &cast.helper.mcp).await?;
    let error = answer.body.get("error").cloned().unwrap_or_default();
    stage.wire(&format!("helper calls list_repos -> {}", pretty(&error, usize::MAX)));
    stage.check(
        error.get("code") == Some(&json!(-32602)),
        "policy would permit it; to an agent that was not given it, it does not exist",
    );
    Ok(())
}

fn is_refused(answer: &Answer, error: &str) -> bool {
    answer.status == 400 && answer.body.get("error") == Some(&json!(error))
}
