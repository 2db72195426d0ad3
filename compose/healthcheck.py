"""Whether the services of this container answer; needs nothing but Python itself."""

import http.client
import json
import os
import sys
from pathlib import Path


def main() -> int:
    """0 when every service that was started here answers."""
    data = Path(os.environ.get("CYTOBUS_DATA", "data"))
    try:
        running = json.loads((data / "running.json").read_text())
        ports = running["ports"]
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"not up yet: {error}\n")
        return 1
    for name, port in ports.items():
        connection = _to(port, running.get("tls", False))
        try:
            connection.request("GET", "/api/v1/health")
            answer = connection.getresponse()
            if answer.status != 200:
                sys.stderr.write(f"{name} answers {answer.status}\n")
                return 1
        except OSError as error:
            sys.stderr.write(f"{name} does not answer: {error}\n")
            return 1
        finally:
            connection.close()
    return 0


def _to(port: int, tls: bool) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it asks itself, and tells nothing
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=4, context=context)


if __name__ == "__main__":
    sys.exit(main())
