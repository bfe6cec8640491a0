//! The claim `vst`: where in the delegation tree a token was minted. Every name in it is one that a revocation can be
//! of, so what is missing here is what would escape a revocation.

use std::collections::BTreeSet;

use vestibule_model::{
    AttemptId, Chain, DEPTH_MAX, NODE_KEYS_MAX, NodeId, PathNode, Refusal, Represented, Thumbprint,
    Timestamp, UserId, json::Json,
};

use super::{invalid, moment, text};

/// The revision of the `vst` claim that is minted and read.
pub const VST_REVISION: i64 = 2;

/// The members of this revision. Another one would be a bound or a name that is not understood here.
const MEMBERS: &[&str] =
    &["rev", "node", "path", "since", "keys", "depth", "max_depth", "node_exp", "user", "calls"];

/// What `vst` says.
pub(super) struct Vst {
    pub(super) nodes: Vec<PathNode>,
    pub(super) max_depth: u8,
    pub(super) node_expires_at: Timestamp,
    pub(super) user: Option<Represented>,
    pub(super) calls: Vec<AttemptId>,
}

pub(super) fn read(claims: &Json, user: Option<UserId>, chain: &Chain) -> Result<Vst, Refusal> {
    let vst = claims.get("vst").ok_or_else(|| invalid("no `vst`"))?;
    if vst.get("rev").and_then(Json::as_i64) != Some(VST_REVISION) {
        return Err(invalid("a `vst` of another revision"));
    }
    let mut members = vst.as_object().unwrap_or_default().iter();
    if members.any(|(name, _)| !MEMBERS.contains(&name.as_str())) {
        return Err(invalid("`vst` has an unknown member"));
    }
    let nodes = nodes(vst, chain, moment(claims, "iat")?)?;
    let calls = calls(vst)?;
    let number = |name| vst.get(name).and_then(Json::as_i64);
    let max_depth = number("max_depth").and_then(|max| u8::try_from(max).ok());
    let max_depth = max_depth.filter(|max| (chain.depth()..=DEPTH_MAX).contains(&usize::from(*max)));
    let max_depth = max_depth.ok_or_else(|| invalid("`vst.max_depth` contradicts the chain"))?;
    if number("depth").and_then(|depth| usize::try_from(depth).ok()) != Some(chain.depth())
        || nodes.last().map(|node| node.id.as_str()) != vst.get("node").and_then(Json::as_str)
        // The first agent asked for itself; every call that another was invoked in made it one deeper.
        || calls.len() >= chain.depth()
    {
        return Err(invalid("`vst` contradicts the chain"));
    }
    // A node never ends before what is minted under it.
    let node_expires_at = moment(vst, "node_exp")?;
    if node_expires_at < moment(claims, "exp")? {
        return Err(invalid("the token outlives its node"));
    }
    let user = represented(vst.get("user"), user)?;
    Ok(Vst { nodes, max_depth, node_expires_at, user, calls })
}

/// `path`, `since` and `keys`: a node for each agent of the chain, the root first, the one the token was minted under
/// last. A path that lacks a node would escape the revocation of that node.
fn nodes(vst: &Json, chain: &Chain, issued_at: Timestamp) -> Result<Vec<PathNode>, Refusal> {
    let (path, since, keys) = (array(vst, "path")?, array(vst, "since")?, array(vst, "keys")?);
    if [path.len(), since.len(), keys.len()] != [chain.depth(); 3] {
        return Err(invalid("`vst.path`, `vst.since` and `vst.keys` do not have one entry for each agent"));
    }
    let mut nodes: Vec<PathNode> = Vec::with_capacity(path.len());
    for (((id, since), keys), actor) in path.iter().zip(since).zip(keys).zip(chain.actors()) {
        let node = node(id, since, keys)?;
        // A child is not older than its parent: a cutoff that reaches the parent's time reaches what is below it.
        if nodes.last().is_some_and(|parent| node.since < parent.since) || node.since > issued_at {
            return Err(invalid("`vst.since` is not in order"));
        }
        if nodes.iter().any(|above| above.id == node.id) {
            return Err(invalid("`vst.path` names a node twice"));
        }
        // An agent that is known by its key alone is revoked with its key, which the path has to name for that.
        if actor.agent.as_key().is_some_and(|key| !node.keys.contains(&key)) {
            return Err(invalid("`vst.keys` lacks the key that an agent is named by"));
        }
        nodes.push(node);
    }
    Ok(nodes)
}

fn node(id: &Json, since: &Json, keys: &Json) -> Result<PathNode, Refusal> {
    let since = since.as_i64().ok_or_else(|| invalid("`vst.since` is not whole seconds"))?;
    let keys = keys.as_array().filter(|keys| keys.len() <= NODE_KEYS_MAX);
    let keys = keys.ok_or_else(|| invalid("`vst.keys` does not hold arrays of at most two keys"))?;
    Ok(PathNode {
        id: NodeId::parse(id.as_str().unwrap_or_default()).map_err(invalid)?,
        since: Timestamp::from_seconds(since),
        keys: keys
            .iter()
            .map(|key| Thumbprint::parse(key.as_str().unwrap_or_default()).map_err(invalid))
            .collect::<Result<_, _>>()?,
    })
}

/// `user`: what is known of the human besides who they are. Only where there is one.
fn represented(said: Option<&Json>, user: Option<UserId>) -> Result<Option<Represented>, Refusal> {
    let (said, id) = match (said, user) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(invalid("`vst.user` without a human")),
        (None, Some(id)) => {
            return Ok(Some(Represented {
                id,
                groups: BTreeSet::new(),
                session: None,
                client: None,
                since: None,
            }));
        }
        (Some(said), Some(id)) => (said, id),
    };
    let mut members = said.as_object().ok_or_else(|| invalid("`vst.user` is not an object"))?.iter();
    if members.any(|(name, _)| !["groups", "sid", "client", "iat"].contains(&name.as_str())) {
        return Err(invalid("`vst.user` has an unknown member"));
    }
    let optional =
        |name| said.get(name).map(|_| text(said, name)).transpose().map(|found| found.map(str::to_owned));
    let groups = array(said, "groups")?.iter().map(|group| group.as_str().map(str::to_owned));
    let groups = groups.collect::<Option<_>>().ok_or_else(|| invalid("`vst.user.groups` holds no text"))?;
    let since = said.get("iat").map(|_| moment(said, "iat")).transpose()?;
    Ok(Some(Represented { id, groups, session: optional("sid")?, client: optional("client")?, since }))
}

fn calls(vst: &Json) -> Result<Vec<AttemptId>, Refusal> {
    if vst.get("calls").is_none() {
        return Ok(Vec::new());
    }
    let parse = |id: &Json| AttemptId::parse(id.as_str().unwrap_or_default()).map_err(invalid);
    array(vst, "calls")?.iter().map(parse).collect()
}

fn array<'a>(value: &'a Json, name: &str) -> Result<&'a [Json], Refusal> {
    value.get(name).and_then(Json::as_array).ok_or_else(|| invalid(format!("`{name}` is not an array")))
}
