use vestibule_model::*;
#[derive(Debug)] pub struct Containment;
pub struct Path<'a> { pub jti: Option<&'a Jti>, pub issued_at: Timestamp, pub agents: &'a [Actor], pub nodes: &'a [NodeId] }
impl Containment { pub fn check(&self, _p: &Path<'_>) -> Result<(), Denial> { Ok(()) } }
