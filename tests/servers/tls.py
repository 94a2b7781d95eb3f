"""Self-signed certificates for servers on loopback."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

FILE = "server.pem"


def self_signed(directory: Path, *names: str) -> ssl.SSLContext:
    """Return a server context with a new certificate for the names; write it with its key to `directory`/server.pem.

    The certificate is also a certificate authority: a client that trusts the file accepts the server.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    names = names or ("localhost",)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    begin, end = now - timedelta(days=1), now + timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, end)
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = builder.add_extension(alternatives, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem, unencrypted = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted)
    file = directory / FILE
    file.write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
