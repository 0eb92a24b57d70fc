//! Compiles the collector protobuf with a pure-Rust compiler, so no `protoc` is needed anywhere.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/goldmane.proto"], ["proto"])?;
    // Without transport helpers: the rpc `Connect` would clash with their constructor `connect`.
    tonic_prost_build::configure()
        .build_transport(false)
        .build_client(std::env::var_os("CARGO_FEATURE_GRPC").is_some())
        .build_server(std::env::var_os("CARGO_FEATURE_GRPC").is_some())
        .compile_fds(files)?;
    Ok(())
}
