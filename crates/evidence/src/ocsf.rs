//! The part of OCSF 1.8 (<https://schema.ocsf.io/1.8.0>) that our events fill: API Activity for calls, Authentication for
//! requests about tokens, Entity Management for administrative acts, Application Lifecycle for the log itself.
//!
//! OCSF 1.8 has no words for chains, delegations and calls within calls (1.9 begins to): they stand in our own record,
//! under `unmapped.vestibule`.

use std::net::IpAddr;

use serde::Serialize;
use vestibule_model::{AgentId, AppId, AttemptId, Timestamp};

use crate::{
    Decision, Outcome, Record, RecordKind,
    event::{EntryKind, Lifecycle, Own},
};

/// `activity_id` and `status_id` where the schema has no number.
const OTHER: u8 = 99;
const UNKNOWN: &str = "unknown";

#[derive(Serialize)]
pub(crate) struct Event<'a> {
    metadata: Metadata,
    time: Timestamp,
    category_uid: u32,
    class_uid: u32,
    activity_id: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    activity_name: Option<&'a str>,
    type_uid: u32,
    severity_id: u8,
    status_id: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<&'a str>,
    #[serde(flatten)]
    body: Body<'a>,
    unmapped: Unmapped<'a>,
}

impl<'a> Event<'a> {
    pub(crate) fn attempt(
        entry: EntryKind,
        record: &'a Record,
        outcome: Option<Outcome>,
        time: Timestamp,
    ) -> Self {
        let class = match record.kind {
            RecordKind::Call => Class::call(record.method.as_deref()),
            // Its ticket activities are Kerberos'.
            RecordKind::TokenRequest | RecordKind::TokenIntrospection | RecordKind::TokenRevocation => {
                Class { category: 3, class: 3002, activity: OTHER }
            }
            RecordKind::Administration => Class { category: 3, class: 3004, activity: OTHER },
        };
        let name = match record.kind {
            RecordKind::Call => record.method.as_deref(),
            RecordKind::TokenRequest if is_delegation(record) => Some("delegation"),
            RecordKind::TokenRequest => Some("token request"),
            RecordKind::TokenIntrospection => Some("token introspection"),
            RecordKind::TokenRevocation => Some("token revocation"),
            RecordKind::Administration => record.action.as_deref(),
        };
        Self {
            metadata: Metadata::new(record.attempt, entry),
            time,
            category_uid: class.category,
            class_uid: class.class,
            activity_id: class.activity,
            activity_name: (class.activity == OTHER).then_some(name.unwrap_or(UNKNOWN)),
            type_uid: class.type_uid(),
            // 1 Informational, 2 Low, 3 Medium.
            severity_id: match record.decision {
                Decision::Undecided | Decision::Permit => 1,
                Decision::Deny => 2,
                Decision::Fault => 3,
            },
            status_id: outcome.map_or(OTHER, status),
            status: outcome.is_none().then_some("Opened"),
            status_code: record.denial.as_deref().or(outcome.map(Outcome::as_str)),
            body: Body::of(record),
            unmapped: Unmapped { vestibule: Own::Attempt { entry, outcome, record } },
        }
    }

    pub(crate) fn lifecycle(own: &'a Lifecycle, id: AttemptId, time: Timestamp) -> Self {
        // 3 Start, 4 Stop; severity 4 High.
        let (activity, severity_id) = match own {
            Lifecycle::Start { .. } => (3, 1),
            Lifecycle::Stop => (4, 1),
            Lifecycle::Gap(_) => (OTHER, 4),
        };
        let class = Class { category: 6, class: 6002, activity };
        Self {
            metadata: Metadata::new(id, own.kind()),
            time,
            category_uid: class.category,
            class_uid: class.class,
            activity_id: class.activity,
            activity_name: (class.activity == OTHER).then_some("gap"),
            type_uid: class.type_uid(),
            severity_id,
            status_id: 1,
            status: None,
            status_code: None,
            body: Body::Lifecycle { app: PRODUCT },
            unmapped: Unmapped { vestibule: Own::Lifecycle(own) },
        }
    }
}

struct Class {
    category: u32,
    class: u32,
    activity: u8,
}

impl Class {
    /// API Activity: 1 Create, 2 Read, 3 Update, 4 Delete.
    fn call(method: Option<&str>) -> Self {
        let activity = match method {
            Some("POST") => 1,
            Some("GET" | "HEAD") => 2,
            Some("PUT" | "PATCH") => 3,
            Some("DELETE") => 4,
            Some(_) | None => OTHER,
        };
        Self { category: 6, class: 6003, activity }
    }

    fn type_uid(&self) -> u32 {
        self.class * 100 + u32::from(self.activity)
    }
}

/// Whether the request handed authority to another agent.
fn is_delegation(record: &Record) -> bool {
    record
        .delegation
        .as_ref()
        .is_some_and(|made| made.parent.is_some() && made.made_by == Some(record.attempt))
}

/// `status_id`: 0 Unknown, 1 Success, 2 Failure.
fn status(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Completed => 1,
        Outcome::Refused | Outcome::UpstreamFailed | Outcome::Cut | Outcome::Failed => 2,
        Outcome::Abandoned | Outcome::Unknown => 0,
    }
}

#[derive(Serialize)]
struct Metadata {
    version: &'static str,
    product: Product,
    uid: Uid,
    correlation_uid: AttemptId,
    event_code: EntryKind,
}

impl Metadata {
    fn new(id: AttemptId, entry: EntryKind) -> Self {
        let uid = Uid(id, entry);
        Self { version: "1.8.0", product: PRODUCT, uid, correlation_uid: id, event_code: entry }
    }
}

/// Unique per event, as OCSF wants it: an attempt has two.
struct Uid(AttemptId, EntryKind);

impl Serialize for Uid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}-{}", self.0, self.1.as_str()))
    }
}

#[derive(Serialize)]
struct Product {
    name: &'static str,
    vendor_name: &'static str,
    version: &'static str,
}

const PRODUCT: Product =
    Product { name: "Vestibule", vendor_name: "Vestibule", version: env!("CARGO_PKG_VERSION") };

/// What each class has of its own.
#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Call {
        actor: Actor<'a>,
        src_endpoint: Endpoint,
        api: Api<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        http_response: Option<HttpResponse>,
    },
    Tokens {
        actor: Actor<'a>,
        src_endpoint: Endpoint,
        /// Who authenticates: the agent.
        user: User<'a>,
        service: Named<'a>,
    },
    Administration {
        actor: Actor<'a>,
        src_endpoint: Endpoint,
        entity: Named<'a>,
    },
    Lifecycle {
        app: Product,
    },
}

impl<'a> Body<'a> {
    fn of(record: &'a Record) -> Self {
        let (actor, src_endpoint) = (Actor::of(record), Endpoint::of(record.remote));
        match record.kind {
            RecordKind::Call => Self::Call {
                actor,
                src_endpoint,
                api: Api {
                    operation: record.operation.as_deref().or(record.method.as_deref()).unwrap_or(UNKNOWN),
                    service: Named { name: record.app.as_ref().map_or(UNKNOWN, AppId::as_str) },
                    request: Request { uid: record.attempt },
                },
                http_response: record.upstream_status.map(|code| HttpResponse { code }),
            },
            RecordKind::TokenRequest => Self::tokens(record, "token endpoint"),
            RecordKind::TokenIntrospection => Self::tokens(record, "introspection endpoint"),
            RecordKind::TokenRevocation => Self::tokens(record, "revocation endpoint"),
            RecordKind::Administration => Self::Administration {
                actor,
                src_endpoint,
                entity: Named { name: record.target.as_deref().unwrap_or(UNKNOWN) },
            },
        }
    }

    fn tokens(record: &'a Record, endpoint: &'static str) -> Self {
        Self::Tokens {
            actor: Actor::of(record),
            src_endpoint: Endpoint::of(record.remote),
            user: User { uid: record.agent.as_ref().map_or(UNKNOWN, AgentId::as_str), domain: None },
            service: Named { name: endpoint },
        }
    }
}

#[derive(Serialize)]
struct Actor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    app_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User<'a>>,
}

impl<'a> Actor<'a> {
    fn of(record: &'a Record) -> Self {
        let user = record.user.as_ref().map(|user| User { uid: &user.subject, domain: Some(&user.issuer) });
        let agent = record.agent.as_ref().map(AgentId::as_str);
        // OCSF wants at least one of the two.
        Self { app_uid: agent.or(user.is_none().then_some(UNKNOWN)), user }
    }
}

#[derive(Serialize)]
struct User<'a> {
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Endpoint {
    Ip(IpAddr),
    Name(&'static str),
}

impl Endpoint {
    fn of(remote: Option<IpAddr>) -> Self {
        remote.map_or(Self::Name(UNKNOWN), Self::Ip)
    }
}

#[derive(Serialize)]
struct Api<'a> {
    operation: &'a str,
    service: Named<'a>,
    request: Request,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Request {
    uid: AttemptId,
}

#[derive(Serialize)]
struct HttpResponse {
    code: u16,
}

#[derive(Serialize)]
struct Unmapped<'a> {
    vestibule: Own<'a>,
}

#[cfg(test)]
mod tests;
