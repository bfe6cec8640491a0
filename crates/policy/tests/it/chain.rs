//! Chains of agents: who is a link, in which groups and with which trust, and the human at their end.

use vestibule_inbound::Caller;
use vestibule_model::{AgentState, AppId, Directory};
use vestibule_policy::{Lock, Verdict};

use crate::support::{
    agent, caller, code, decide, directory, in_groups, keyed, load, noon, plain, represented, sandboxes,
    user, verdict,
};

fn lock(policies: &str, agents: &[(&str, &[&str], u8)]) -> Lock {
    Lock::new(Some(load(policies, &sandboxes())), directory(agents))
}

/// The chain of these registered agents and keys, where a key is a number.
fn chain(links: &[&str]) -> Caller {
    let ids: Vec<String> = links
        .iter()
        .map(|link| link.parse().map_or_else(|_| (*link).to_owned(), |number| keyed(number).to_string()))
        .collect();
    caller(&ids.iter().map(String::as_str).collect::<Vec<_>>(), None, |_| ())
}

fn lists(lock: &Lock, caller: &Caller) -> &'static str {
    decide(lock, caller, "sandbox__list_repos", "{}")
}

fn visible(lock: &Lock, caller: &Caller) -> usize {
    lock.visible(caller, &AppId::new("sandbox").unwrap(), &noon()).len()
}

const GRANT: &str =
    "@id(\"p\") permit (principal in AgentGroup::\"g\", action in Action::\"sandbox\", resource);";

#[test]
fn what_an_agent_spawns_is_in_its_groups_however_deep_it_is() {
    let lock = lock(GRANT, &[("a", &["g"], 0), ("b", &[], 0)]);
    assert_eq!(lists(&lock, &chain(&["a", "1"])), "permit");
    assert_eq!(lists(&lock, &chain(&["a", "1", "2", "3"])), "permit");
    assert_eq!(visible(&lock, &chain(&["a", "1", "2"])), 4);
    assert_eq!(lists(&lock, &chain(&["b", "1"])), "operation-not-permitted");
    // The nearest registered agent counts, and each agent above must be permitted as well.
    assert_eq!(lists(&lock, &chain(&["a", "1", "b", "2"])), "operation-not-permitted");
    assert_eq!(lists(&lock, &chain(&["b", "1", "a", "2"])), "operation-not-permitted");
}

#[test]
fn a_decision_names_what_was_spawned_by_its_key() {
    let lock = lock(GRANT, &[("a", &["g"], 0)]);
    let Verdict::Permitted(permit) =
        verdict(&lock, &chain(&["a", "1"]), "sandbox__list_repos", "{}", &noon())
    else {
        panic!("permitted")
    };
    let subjects: Vec<_> = permit.decision().subjects.iter().map(|subject| subject.subject.clone()).collect();
    assert_eq!(subjects, ["Agent::\"a\"".to_owned(), format!("Agent::\"{}\"", keyed(1))]);
}

#[test]
fn what_was_spawned_is_in_a_group_of_its_own() {
    let lock = lock(
        &format!(
            "{GRANT} @id(\"f\") forbid (principal in AgentGroup::\"spawned\", action == Action::\"sandbox__create_repo\", resource);"
        ),
        &[("a", &["g"], 0)],
    );
    let create = |caller| decide(&lock, &caller, "sandbox__create_repo", r#"{"name":"x"}"#);
    assert_eq!(create(chain(&["a"])), "permit");
    assert_eq!(create(chain(&["a", "1"])), "operation-not-permitted");
    assert_eq!((visible(&lock, &chain(&["a"])), visible(&lock, &chain(&["a", "1"]))), (4, 3));
}

#[test]
fn what_was_spawned_is_trusted_as_much_as_its_parent_and_not_as_its_ancestors() {
    let lock = lock(
        "@id(\"p\") permit (principal in AgentGroup::\"g\", action, resource);
         @id(\"f\") forbid (principal in AgentGroup::\"spawned\", action, resource) when { principal.trust < 2 };",
        &[("high", &["g"], 3), ("low", &["g"], 1)],
    );
    assert_eq!(lists(&lock, &chain(&["high", "1", "2"])), "permit");
    assert_eq!(lists(&lock, &chain(&["low", "1"])), "operation-not-permitted");
    assert_eq!(lists(&lock, &chain(&["high", "low", "1"])), "operation-not-permitted");
    assert_eq!(lists(&lock, &chain(&["low", "high", "1"])), "permit");
}

#[test]
fn a_key_without_a_parent_is_nobody() {
    let lock = lock(GRANT, &[("a", &["g"], 0)]);
    for unknown in [&["1"][..], &["1", "a"], &["1", "2"], &["a", "stranger"], &["stranger", "1"]] {
        let caller = chain(unknown);
        assert_eq!(lists(&lock, &caller), "agent-unknown", "{unknown:?}");
        assert_eq!(visible(&lock, &caller), 0, "{unknown:?}");
        let ping = lock.always(&caller, &AppId::new("sandbox").unwrap(), "ping");
        assert_eq!(code(&ping), "agent-unknown", "{unknown:?}");
    }
}

#[test]
fn below_a_retired_agent_everybody_is_unknown() {
    let mut retired = (*agent("a", &["g"], 3)).clone();
    retired.state = AgentState::Retired;
    let agents = Directory::default().with(retired.into()).with(agent("b", &["g"], 3));
    let lock = Lock::new(Some(load(GRANT, &sandboxes())), agents.into());
    assert_eq!(lists(&lock, &chain(&["a", "1"])), "agent-unknown");
    assert_eq!(lists(&lock, &chain(&["b", "a", "1"])), "agent-unknown");
    assert_eq!(lists(&lock, &chain(&["b", "1"])), "permit");
}

#[test]
fn a_registered_agent_is_what_the_operator_says_of_it_even_if_its_id_is_that_of_a_key() {
    let key = keyed(1).to_string();
    let by_key = lock(GRANT, &[("a", &["g"], 0), (&key, &["other"], 0)]);
    assert_eq!(lists(&by_key, &chain(&["a", "1"])), "operation-not-permitted", "not in its parent's groups");
    let root = lock(GRANT, &[(&key, &["g"], 0)]);
    assert_eq!(lists(&root, &chain(&["1"])), "permit", "and it needs no parent");
    let mut retired = (*agent(&key, &["g"], 0)).clone();
    retired.state = AgentState::Retired;
    let agents = Directory::default().with(retired.into()).with(agent("a", &["g"], 0));
    let lock = Lock::new(Some(load(GRANT, &sandboxes())), agents.into());
    assert_eq!(
        lists(&lock, &chain(&["a", "1"])),
        "agent-unknown",
        "retired, it does not come back as a child"
    );
}

#[test]
fn one_key_is_not_two_links_of_a_chain() {
    let lock = lock(GRANT, &[("high", &["g"], 3), ("low", &["g"], 0)]);
    assert_eq!(lists(&lock, &chain(&["high", "1", "low", "1"])), "agent-unknown");
    assert_eq!(lists(&lock, &chain(&["high", "1", "1"])), "agent-unknown");
    assert_eq!(
        lists(&lock, &chain(&["high", "1", "high", "2"])),
        "permit",
        "a registered agent may be called again"
    );
}

#[test]
fn a_user_is_in_the_groups_that_the_token_says() {
    let lock = lock(
        "@id(\"a\") permit (principal is Agent, action, resource);
         @id(\"u\") permit (principal in UserGroup::\"dev\", action in Action::\"sandbox\", resource);
         @id(\"f\") forbid (principal, action == Action::\"sandbox__delete_repo\", resource)
           when { context.caller has user && context.caller.user in UserGroup::\"interns\" };",
        &[("a", &["dev"], 0)],
    );
    let of = |groups: &[&str]| represented(&["a"], Some(in_groups(user("u"), groups)), |_| ());
    assert_eq!(lists(&lock, &of(&["dev"])), "permit");
    assert_eq!(lists(&lock, &of(&["sales"])), "operation-not-permitted");
    let delete = |groups: &[&str]| decide(&lock, &of(groups), "sandbox__delete_repo", r#"{"name":"x"}"#);
    assert_eq!(delete(&["dev"]), "permit");
    assert_eq!(delete(&["dev", "interns"]), "operation-not-permitted", "agents see the groups of their user");
    // A group of users and a group of agents of one name are two groups.
    assert_eq!(
        lists(&lock, &represented(&["a"], Some(in_groups(user("u"), &[])), |_| ())),
        "operation-not-permitted"
    );
    assert_eq!(lists(&lock, &plain("a")), "permit");
}

/// Everything with one digest, as if somebody had found two tokens of one SHA-256; and, with several digests, the same
/// subject in several groups: nothing remembered of one may be used for another.
#[test]
fn what_was_remembered_for_one_chain_is_not_used_for_another() {
    let lock = lock(
        "@id(\"a\") permit (principal in AgentGroup::\"g\", action in Action::\"sandbox\", resource);
         @id(\"u\") permit (principal in UserGroup::\"dev\", action in Action::\"sandbox\", resource);",
        &[("a", &["g"], 0), ("b", &[], 0)],
    );
    let of = |links: &[&str], groups: &[&str], digest: u8| {
        let seed = chain(links);
        let ids: Vec<String> = seed.chain().actors().iter().map(|actor| actor.agent.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        represented(&ids, Some(in_groups(user("u"), groups)), |token| {
            token.digest = vestibule_model::Digest::of(&[digest]);
        })
    };
    for digest in [0, 1] {
        assert_eq!(lists(&lock, &of(&["a", "1"], &["dev"], 0)), "permit");
        assert_eq!(visible(&lock, &of(&["a", "1"], &["dev"], 0)), 4);
        for weaker in [
            of(&["a", "1"], &[], digest),
            of(&["a", "1"], &["sales"], digest),
            of(&["a", "b", "1"], &["dev"], digest),
        ] {
            assert_eq!(lists(&lock, &weaker), "operation-not-permitted");
            assert_eq!(visible(&lock, &weaker), 0);
        }
    }
}
