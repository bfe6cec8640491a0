//! Connections as a whole, with hyper, h2 and TLS, over a transport that tells what is written to it: what these layers
//! buffer, and when they flush, is what the wire rests on.

mod book;
mod house;
mod leaving;
mod pipe;
mod severing;
mod streams;
mod wire;
