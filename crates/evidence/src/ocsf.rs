//! The part of OCSF 1.8 (<https://schema.ocsf.io/1.8.0>) that our events fill: API Activity for calls, Authentication for
//! token requests, Entity Management for administrative acts, Application Lifecycle for the log itself.

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
            RecordKind::TokenRequest => Class { category: 3, class: 3002, activity: OTHER },
            RecordKind::Administration => Class { category: 3, class: 3004, activity: OTHER },
        };
        let name = match record.kind {
            RecordKind::Call => record.method.as_deref(),
            RecordKind::TokenRequest => Some("token request"),
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
    TokenRequest {
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
            RecordKind::TokenRequest => Self::TokenRequest {
                actor,
                src_endpoint,
                user: User { uid: record.agent.as_ref().map_or(UNKNOWN, AgentId::as_str), domain: None },
                service: Named { name: "token endpoint" },
            },
            RecordKind::Administration => Self::Administration {
                actor,
                src_endpoint,
                entity: Named { name: record.target.as_deref().unwrap_or(UNKNOWN) },
            },
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
mod tests {
    use serde_json::Value;
    use vestibule_model::{SeededEntropy, TraceId};

    use super::*;
    use crate::{Gap, Mode, event};

    /// What OCSF 1.8 requires, per class; `a|b` is its `at_least_one`.
    const BASE: &[&str] = &[
        "activity_id",
        "category_uid",
        "class_uid",
        "metadata.product.name|metadata.product.uid",
        "metadata.product.vendor_name",
        "metadata.version",
        "severity_id",
        "time",
        "type_uid",
    ];
    const REQUIRED: &[(u32, u32, &[&str])] = &[
        (6003, 6, &["actor.app_uid|actor.user", "api.operation", "src_endpoint.ip|src_endpoint.name"]),
        (3002, 3, &["user.uid|user.name", "service.name|dst_endpoint"]),
        (3004, 3, &["entity.name|entity.uid"]),
        (6002, 6, &["app.name|app.uid"]),
    ];

    fn check(line: &[u8], class: u32) {
        let event: Value = serde_json::from_slice(line).unwrap();
        let (_, category, required) = REQUIRED.iter().find(|row| row.0 == class).unwrap();
        for attribute in BASE.iter().chain(*required) {
            let found = attribute.split('|').any(|path| {
                let value = path.split('.').try_fold(&event, |value, key| value.get(key));
                value.is_some_and(|value| !value.is_null())
            });
            assert!(found, "{class}: {attribute} is missing in {event}");
        }
        assert_eq!(event["class_uid"], class);
        assert_eq!(event["category_uid"], *category);
        let activity = event["activity_id"].as_u64().unwrap();
        assert_eq!(event["type_uid"].as_u64().unwrap(), u64::from(class) * 100 + activity);
        assert!(activity != 99 || event["activity_name"].is_string(), "Other needs its name");
    }

    #[test]
    fn every_class_has_what_the_schema_requires_even_if_nothing_is_known() {
        let (entropy, now) = (SeededEntropy::new(1), Timestamp::from_millis(1_700_000_000_000));
        let id = AttemptId::new(now, &entropy);
        for (kind, class) in
            [(RecordKind::Call, 6003), (RecordKind::TokenRequest, 3002), (RecordKind::Administration, 3004)]
        {
            let record = Record::new(kind, id, now, TraceId::of(id));
            for (entry, outcome) in [(EntryKind::Opened, None), (EntryKind::Closed, Some(Outcome::Refused))] {
                let mut line = Vec::new();
                event::write_attempt(&mut line, entry, &record, outcome, now).unwrap();
                check(&line, class);
            }
        }
        let gap = Lifecycle::Gap(Gap { from: now, to: now, torn_bytes: 0 });
        for own in [Lifecycle::Start { version: "1", mode: Mode::Batched }, Lifecycle::Stop, gap] {
            let mut line = Vec::new();
            event::write_lifecycle(&mut line, &own, id, now).unwrap();
            check(&line, 6002);
        }
    }
}
