use serde_json::json;
use vestibule_model::AppKind;

use super::{
    super::{Stage, agent::Answer, holder::Holder},
    World,
    call::{Door, Manner},
    cast::{Cast, Member, said},
};
use crate::cli::{Failure, Outcome};

/// What those who were cut try next, and what those who were not may do as before.
pub(super) async fn play(stage: &mut Stage<'_>, world: &World<'_>, cast: &Cast) -> Outcome {
    stage.scene(
        "What they try next",
        "Their tokens have not expired. No list of tokens is kept: a name on their path is dead.",
    );
    for door in [Door::Modern, Door::Http] {
        let answer = call(world, &cast.helper, door).await?;
        let challenge = answer.header("www-authenticate").to_owned();
        let error = challenge.split(", ").find(|part| part.starts_with("error=")).unwrap_or_default();
        stage.wire(&format!("helper calls over {} -> {} {error}", door.as_str(), answer.status));
        stage.check(
            answer.status == 401 && error == "error=\"invalid_token\"",
            &format!("the next call over {} is refused", door.as_str()),
        );
    }
    for (name, member) in [("helper", &cast.helper), ("researcher", &cast.researcher)] {
        let answer = member.renew(AppKind::Mcp, None).await?;
        stage.wire(&format!("{name} asks for a new token\n-> {}", said(&answer)));
        stage.check(answer.status == 400, &format!("no new token for the {name}"));
    }
    let heir = Holder::new("heir", None, &world.entrance)?;
    let answer = cast.writer.spawn(&heir, AppKind::Mcp, &json!({ "stream_progress": {} })).await?;
    stage.wire(&format!("writer spawns an heir\n-> {}", said(&answer)));
    stage.check(answer.status == 400, "no child for the writer");
    let answer = cast.orchestrator.renew(AppKind::Mcp, None).await?;
    stage.wire(&format!("orchestrator asks for a new token\n-> {}", said(&answer)));
    stage.check(answer.status == 200, "the orchestrator works on as before");
    Ok(())
}

/// A call of one second.
pub(super) async fn call(world: &World<'_>, member: &Member, door: Door) -> Result<Answer, Failure> {
    let request = door.request(world.places, Manner::Plain, 1, None)?;
    member.holder.call(&request, member.token(door.app())).await
}
