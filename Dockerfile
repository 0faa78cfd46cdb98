# The aggregator as one static binary, and the filter that it offers at /filter.wasm.
#
#   docker build -t registry.example.com/serin:0.1.0 .
FROM rust:1.95-alpine AS build
RUN apk add --no-cache gcc musl-dev ca-certificates && rustup target add wasm32-wasip1
WORKDIR /src
COPY . .
# Alpine's own target is musl: what it links is static. The certificate authorities are for webhooks over TLS. A backtrace keeps the names of
# functions; with their lines the binary is 187 MB, without them 34 MB.
RUN cargo build --locked --release -p serin \
 && cargo build --locked -p serin-filter --profile wasm --target wasm32-wasip1 \
 && mkdir -p /out/usr/bin /out/etc/ssl/certs /own/var/lib/serin \
 && cp target/release/serin target/wasm32-wasip1/wasm/serin_filter.wasm /out/usr/bin/ \
 && strip --strip-debug /out/usr/bin/serin \
 && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/

FROM scratch
COPY --from=build /out/ /
# Nothing else is its own to change.
COPY --from=build --chown=65532:65532 /own/ /
USER 65532:65532
EXPOSE 9400 9090
ENTRYPOINT ["/usr/bin/serin"]
CMD ["serve", "--config", "/etc/serin/serin.yaml"]
