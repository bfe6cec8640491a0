use std::fmt::Debug;

/// The connection on which a reply goes out, as far as containment is concerned.
///
/// Against bytes that are on their way: what was written into the layers of HTTP and TLS is not yet with the kernel, and
/// would leave after the attempt was cut.
pub trait Wire: Send + Sync + Debug {
    /// Drops what is buffered and ends the connection. From its return on no byte is written to the socket; what the
    /// kernel has taken before may still arrive. Must neither wait nor panic, nor drop a passage. May be called more than
    /// once.
    fn sever(&self);
}
