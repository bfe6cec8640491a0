//! What a token may do at most, as it was handed on: operations and constraints on their arguments (RFC 9396).
//!
//! It bounds and never grants: policy is asked all the same. A child's authority must be proven to lie within its
//! parent's; what cannot be proven is refused. The world is closed: what is not listed is not allowed.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value, json};

pub use self::constraint::{Constraint, Scalar};
use crate::{Malformed, json::Json};

mod constraint;
mod read;
#[cfg(test)]
mod tests;

/// The `type` of our authorization details (RFC 9396 §2).
pub const AUTHORITY_TYPE: &str = "vestibule_operations";

/// One or more grants, each for the resources that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority(Vec<Grant>);

/// Operations of some resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The resource identifiers it is for, compared byte for byte; none: whatever the token itself is for.
    pub locations: Vec<String>,
    /// By name. An operation without arguments may be called with any; with arguments, with exactly those.
    pub operations: BTreeMap<String, BTreeMap<Argument, Constraint>>,
}

/// The name of an argument.
pub type Argument = String;

/// In what way something exceeds an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// The resource is none of the authority's.
    #[error("nothing of the resource is in the authority")]
    Resource,
    /// The operation is not in it.
    #[error("the operation `{0}` is not in the authority")]
    Operation(String),
    /// An argument that it does not list, or that lacks, or has another value.
    #[error("the argument `{0}` exceeds the authority")]
    Argument(Argument),
}

impl Authority {
    /// From `authorization_details`: an array of objects of our type.
    ///
    /// Bounds: 8 grants, 64 operations, 16 arguments of an operation, 64 values, `all_of` nested 3 deep, 16 locations
    /// of 512 bytes, and 4096 bytes of JSON beside the locations. All of them hold for [`Authority::located`] as well.
    ///
    /// # Errors
    /// For another type, an unknown member or kind of constraint, and what is over its bound.
    pub fn from_json(details: &Json) -> Result<Self, Malformed> {
        read::authority(details)
    }

    /// As `authorization_details`. What [`Authority::from_json`] reads from it is equal.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Array(self.0.iter().map(Grant::to_value).collect())
    }

    /// Its grants.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.0
    }

    /// The same, with `resource` named where nothing was: what was said about a token for one resource must not widen
    /// to another when it is handed on.
    #[must_use]
    pub fn located(mut self, resource: &str) -> Self {
        for grant in self.0.iter_mut().filter(|grant| grant.locations.is_empty()) {
            grant.locations.push(resource.to_owned());
        }
        self
    }

    /// Whether a call is inside.
    ///
    /// # Errors
    /// The first way in which it is not.
    pub fn permits(&self, resource: &str, operation: &str, arguments: &Json) -> Result<(), Exceeded> {
        let mut exceeded = Exceeded::Resource;
        for grant in self.of(resource) {
            let Some(constraints) = grant.operations.get(operation) else {
                if exceeded == Exceeded::Resource {
                    exceeded = Exceeded::Operation(operation.to_owned());
                }
                continue;
            };
            match check(constraints, arguments) {
                Ok(()) => return Ok(()),
                Err(argument) => exceeded = Exceeded::Argument(argument),
            }
        }
        Err(exceeded)
    }

    /// Whether some arguments of the operation are inside: for lists.
    #[must_use]
    pub fn mentions(&self, resource: &str, operation: &str) -> bool {
        self.of(resource).any(|grant| grant.operations.contains_key(operation))
    }

    /// Whether every call inside of this is inside of `parent`. Sound, not complete: it may be refused although it
    /// holds, never the other way round. Both must be [`located`](Self::located); a grant that is not is within nothing,
    /// and nothing is within it.
    ///
    /// # Errors
    /// The first part that is not proven.
    pub fn is_within(&self, parent: &Self) -> Result<(), Exceeded> {
        for grant in &self.0 {
            // The attack: without a location it would be for whatever a token is for, and a child's token can be for
            // another resource than its parent's.
            if grant.locations.is_empty() {
                return Err(Exceeded::Resource);
            }
            for location in &grant.locations {
                for (operation, constraints) in &grant.operations {
                    parent.covers(location, operation, constraints)?;
                }
            }
        }
        Ok(())
    }

    /// The names of its operations, of all resources.
    pub fn operations(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|grant| grant.operations.keys().map(String::as_str))
    }

    fn of(&self, resource: &str) -> impl Iterator<Item = &Grant> {
        self.0.iter().filter(move |grant| {
            grant.locations.is_empty() || grant.locations.iter().any(|location| location == resource)
        })
    }

    fn covers(
        &self,
        location: &str,
        operation: &str,
        child: &BTreeMap<Argument, Constraint>,
    ) -> Result<(), Exceeded> {
        let mut exceeded = Exceeded::Resource;
        for grant in self.of(location).filter(|grant| !grant.locations.is_empty()) {
            let Some(parent) = grant.operations.get(operation) else {
                if exceeded == Exceeded::Resource {
                    exceeded = Exceeded::Operation(operation.to_owned());
                }
                continue;
            };
            match within(child, parent) {
                Ok(()) => return Ok(()),
                Err(argument) => exceeded = Exceeded::Argument(argument),
            }
        }
        Err(exceeded)
    }
}

/// Closed world: with any constraint, exactly the constrained arguments, each as it must be.
fn check(constraints: &BTreeMap<Argument, Constraint>, arguments: &Json) -> Result<(), Argument> {
    if constraints.is_empty() {
        return Ok(());
    }
    let given = arguments.as_object().unwrap_or_default();
    if let Some((undeclared, _)) = given.iter().find(|(name, _)| !constraints.contains_key(name)) {
        return Err(undeclared.clone());
    }
    for (name, constraint) in constraints {
        if !arguments.get(name).is_some_and(|value| constraint.admits(value)) {
            return Err(name.clone());
        }
    }
    Ok(())
}

fn within(
    child: &BTreeMap<Argument, Constraint>,
    parent: &BTreeMap<Argument, Constraint>,
) -> Result<(), Argument> {
    if parent.is_empty() {
        return Ok(());
    }
    // Both worlds are closed, so the same arguments on both sides: one more is one that the parent does not allow, one
    // less is a call without an argument that the parent demands.
    if let Some(extra) = child.keys().find(|name| !parent.contains_key(*name)) {
        return Err(extra.clone());
    }
    for (name, bound) in parent {
        if !child.get(name).is_some_and(|constraint| constraint.is_within(bound)) {
            return Err(name.clone());
        }
    }
    Ok(())
}

impl Grant {
    fn to_value(&self) -> Value {
        let arguments = |constraints: &BTreeMap<Argument, Constraint>| -> Value {
            constraints.iter().map(|(name, one)| (name.clone(), one.to_value())).collect::<Map<_, _>>().into()
        };
        let operations: Map<_, _> =
            self.operations.iter().map(|(name, one)| (name.clone(), arguments(one))).collect();
        let mut value = json!({ "type": AUTHORITY_TYPE, "operations": operations });
        if let (false, Some(members)) = (self.locations.is_empty(), value.as_object_mut()) {
            members.insert("locations".to_owned(), json!(self.locations));
        }
        value
    }
}

impl Serialize for Authority {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Authority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Value::deserialize(deserializer)?.to_string();
        let details = crate::json::parse(text.as_bytes(), 16).map_err(D::Error::custom)?;
        Self::from_json(&details).map_err(D::Error::custom)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_value().fmt(f)
    }
}
