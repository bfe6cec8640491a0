use Kind::{Actor, Id, Proof};
use Place::{Bearer, ClientAssertion, Dpop, Introspection, Revocation, SubjectAccess, SubjectId, SubjectJwt};

/// A kind of token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Hop,
    Call,
    Id,
    Actor,
    Proof,
    Assertion,
    ForApplication,
    Transaction,
}

/// A place that takes one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    Bearer,
    Dpop,
    SubjectAccess,
    SubjectId,
    SubjectJwt,
    Actor,
    ClientAssertion,
    Introspection,
    Revocation,
}

/// Where each kind does what it is for. At every other place it is refused with the code in the record.
pub(super) const TABLE: &[(Kind, &[(Place, &str)])] = &[
    (
        Kind::Hop,
        &[
            (Bearer, "proof-missing"),
            (Dpop, ""),
            (SubjectAccess, ""),
            (SubjectId, "user-token-wrong-type"),
            (SubjectJwt, "token-wrong-type"),
            (Place::Actor, "actor-token-invalid"),
            (ClientAssertion, "assertion-invalid"),
            (Introspection, ""),
            (Revocation, ""),
        ],
    ),
    (
        Kind::Call,
        &[
            (Bearer, "token-wrong-type"),
            (Dpop, "token-wrong-type"),
            (SubjectAccess, "token-wrong-type"),
            (SubjectId, "user-token-wrong-type"),
            (SubjectJwt, ""),
            (Place::Actor, "actor-token-invalid"),
            (ClientAssertion, "assertion-invalid"),
            (Introspection, ""),
            (Revocation, "client-not-of-token"),
        ],
    ),
    (
        Id,
        &[
            (Bearer, "token-wrong-type"),
            (Dpop, "token-wrong-type"),
            (SubjectAccess, "user-token-wrong-type"),
            (SubjectId, ""),
            (SubjectJwt, "token-wrong-type"),
            (Place::Actor, "actor-unknown"),
            (ClientAssertion, "client-unknown"),
            (Introspection, "token-wrong-type"),
            (Revocation, "token-wrong-type"),
        ],
    ),
    (
        Actor,
        &[
            (Bearer, "token-wrong-type"),
            (Dpop, "token-wrong-type"),
            (SubjectAccess, "user-token-wrong-type"),
            (SubjectId, "user-token-wrong-type"),
            (SubjectJwt, "token-wrong-type"),
            (Place::Actor, ""),
            (ClientAssertion, "assertion-invalid"),
            (Introspection, "token-wrong-type"),
            (Revocation, "token-wrong-type"),
        ],
    ),
    (
        Proof,
        &[
            (Bearer, "token-wrong-type"),
            (Dpop, "token-wrong-type"),
            (SubjectAccess, "user-token-wrong-type"),
            (SubjectId, "user-token-wrong-type"),
            (SubjectJwt, "token-wrong-type"),
            (Place::Actor, "actor-token-invalid"),
            (ClientAssertion, "assertion-invalid"),
            (Introspection, "token-wrong-type"),
            (Revocation, "token-wrong-type"),
        ],
    ),
    (
        Kind::Assertion,
        &[
            (Bearer, "token-wrong-type"),
            (Dpop, "token-wrong-type"),
            (SubjectAccess, "user-token-issuer-unknown"),
            (SubjectId, "user-token-issuer-unknown"),
            (SubjectJwt, "token-wrong-type"),
            (Place::Actor, ""),
            (ClientAssertion, ""),
            (Introspection, "token-wrong-type"),
            (Revocation, "token-wrong-type"),
        ],
    ),
    (
        Kind::ForApplication,
        &[
            (Bearer, "token-wrong-type"),
            (Dpop, "token-wrong-type"),
            (SubjectAccess, "user-token-wrong-type"),
            (SubjectId, "user-token-wrong-type"),
            (SubjectJwt, "token-wrong-type"),
            (Place::Actor, "actor-token-invalid"),
            (ClientAssertion, "assertion-invalid"),
            (Introspection, "token-wrong-type"),
            (Revocation, "token-wrong-type"),
        ],
    ),
    (
        Kind::Transaction,
        &[
            (Bearer, "token-wrong-type"),
            (Dpop, "token-wrong-type"),
            (SubjectAccess, "user-token-wrong-type"),
            (SubjectId, "user-token-wrong-type"),
            (SubjectJwt, "token-wrong-type"),
            (Place::Actor, "actor-token-invalid"),
            (ClientAssertion, "assertion-invalid"),
            (Introspection, "token-wrong-type"),
            (Revocation, "token-wrong-type"),
        ],
    ),
];
