//! Is the committed generated code what the `.proto` files generate? `SERIN_UPDATE_PROTO=1` renews it.

use std::path::Path;

use prost::Message;

#[test]
fn generated_is_current() {
    let root = &Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = protox::compile(
        ["serin/v1/ingest.proto", "serin/v1/log.proto", "serin/v1/query.proto", "serin/v1/recording.proto"],
        [root],
    )
    .unwrap();
    let envoy = protox::compile(["envoy/metrics_service.proto"], [root]).unwrap();
    let out = tempfile::tempdir().unwrap();
    std::fs::write(out.path().join("serin.v1.bin"), files.encode_to_vec()).unwrap();
    let grpc_only = "#[cfg(feature = \"grpc\")]";
    for files in [files, envoy] {
        tonic_prost_build::configure()
            .client_mod_attribute(".", grpc_only)
            .server_mod_attribute(".", grpc_only)
            .out_dir(out.path())
            .compile_fds(files)
            .unwrap();
    }
    tonic_build::manual::Builder::new().build_client(false).out_dir(out.path()).compile(&[raw_ingest()]);
    for name in ["serin.v1.Ingest.rs", "serin.v1.rs", "serin.v1.bin", "envoy.service.metrics.v3.rs"] {
        let committed = root.join("src/generated").join(name);
        let fresh = std::fs::read(out.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        if std::env::var_os("SERIN_UPDATE_PROTO").is_some() {
            std::fs::write(&committed, fresh).unwrap();
        } else {
            let same = std::fs::read(&committed).is_ok_and(|bytes| bytes == fresh);
            assert!(same, "{} is not what the .proto files generate: run `make proto`", committed.display());
        }
    }
}

/// `Ingest` of `ingest.proto`, with the messages of `raw.rs`.
fn raw_ingest() -> tonic_build::manual::Service {
    let report = tonic_build::manual::Method::builder()
        .name("report")
        .route_name("Report")
        .input_type("crate::raw::ReportRequest")
        .output_type("crate::v1::ReportResponse")
        .codec_path("tonic_prost::ProstCodec")
        .client_streaming()
        .server_streaming()
        .build();
    tonic_build::manual::Service::builder().name("Ingest").package("serin.v1").method(report).build()
}
