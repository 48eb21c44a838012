"""Each broker with a port that speaks TLS and one user with a password, and the URL that leads there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from eventkit.embedded.ports import free_port
from tests.servers.activemq import ActiveServer
from tests.servers.activemq import Secured as SecuredActive
from tests.servers.certificate import Certificate
from tests.servers.kafka import KafkaServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

USER, PASSWORD = "alice", "s3cr3t-w0rd"


class Secured(NamedTuple):
    """A server, not started yet, and how to get in."""

    server: Any  # has `start` and `stop`
    scheme: str
    port: int
    options: dict[str, str]  # which certificate to trust

    def url(self, *, password: str = PASSWORD) -> str:
        """Return the URL, with a password."""
        return f"{self.scheme}://{USER}:{password}@127.0.0.1:{self.port}"


def kafka(folder: Path) -> Secured:
    """SASL_SSL with PLAIN."""
    trust, port = Certificate.make(folder), free_port()
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    listeners = f"PLAINTEXT://{{host}}:{{port}},SASL_SSL://{{host}}:{port}"
    properties = {
        "listeners": f"{listeners},CONTROLLER://{{host}}:{{controller}}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(trust.both),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": login,
    }
    return Secured(
        KafkaServer(heap="512m", properties=properties), "kafka", port, {"ssl.ca.location": str(trust.certificate)}
    )


def rabbitmq(folder: Path) -> Secured:
    """Another user than guest."""
    trust, port = Certificate.make(folder), free_port()
    lines = (
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        f"ssl_options.cacertfile = {trust.certificate}",
        f"ssl_options.certfile = {trust.certificate}",
        f"ssl_options.keyfile = {trust.key}",
        "ssl_options.verify = verify_none",
    )
    return Secured(
        RabbitServer(*lines, login=(USER, PASSWORD)), "rabbitmqs", port, {"ca_certs": str(trust.certificate)}
    )


def redis(folder: Path) -> Secured:
    """A user of the access control list."""
    trust, port = Certificate.make(folder), free_port()
    users = folder / "users.acl"
    users.write_text(f"user default on nopass ~* &* +@all\nuser {USER} on >{PASSWORD} ~* &* +@all\n")
    server = RedisServer(
        tls_port=str(port), tls_cert_file=str(trust.certificate), tls_key_file=str(trust.key),
        tls_ca_cert_file=str(trust.certificate), tls_auth_clients="no", aclfile=str(users),
    )  # fmt: skip
    return Secured(server, "rediss", port, {"ssl_ca_certs": str(trust.certificate)})


def activemq(folder: Path) -> Secured:
    """STOMP by TLS, with a login."""
    trust, port = Certificate.make(folder), free_port()
    secured = SecuredActive(port, trust, USER, PASSWORD)
    return Secured(ActiveServer(secured=secured), "activemqs", port, {"ca_certs": str(trust.certificate)})


BROKERS: dict[str, Callable[[Path], Secured]] = {each.__name__: each for each in (kafka, rabbitmq, redis, activemq)}
