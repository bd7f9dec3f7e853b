# A static binary, and nothing beside it but the certificates that TLS needs.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /keytrail ./cmd/keytrail \
 && release/notices > /THIRD_PARTY_NOTICES \
 && install -d -m 0700 /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/LICENSE /src/NOTICE /THIRD_PARTY_NOTICES /
COPY --from=build /keytrail /keytrail
COPY --from=build --chown=65532:65532 /data /keytrail-data
USER 65532:65532
WORKDIR /
# Loopback inside a container reaches nobody: publish the port where it should be reached,
# which for plain HTTP is 127.0.0.1 or a proxy's network.
ENV KEYTRAIL_LISTEN=0.0.0.0:8080 KEYTRAIL_PLAIN_HTTP=true KEYTRAIL_DATA=/keytrail-data
VOLUME /keytrail-data
EXPOSE 8080
# Long enough for the read model to be rebuilt from a large ledger.
HEALTHCHECK --interval=10s --timeout=6s --start-period=5m --start-interval=1s CMD ["/keytrail", "health"]
ENTRYPOINT ["/keytrail"]
CMD ["serve"]
