"""The little of curl that the documentation uses, for machines without it."""

import http.client
import sys
from urllib.parse import urlsplit


def main(arguments: list[str]) -> None:
    method, address, data = "", "", b""
    shows_headers = False
    headers = {"Accept": "*/*"}
    options = iter(arguments)
    for option in options:
        if option == "-H":
            name, _, value = next(options).partition(":")
            headers[name] = value.strip()
        elif option == "-d":
            data = next(options).encode()
        elif option == "-X":
            method = next(options)
        elif option == "-i":
            shows_headers = True
        elif option != "-s":
            assert not option.startswith("-"), f"this curl does not know {option}"
            address = option
    if data:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | headers
    url = urlsplit(address)
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    target = url.path + (f"?{url.query}" if url.query else "")
    connection.request(method or ("POST" if data else "GET"), target, data or None, headers)
    answer = connection.getresponse()
    if shows_headers:
        sys.stdout.write(f"HTTP/1.1 {answer.status} {answer.reason}\n")
        sys.stdout.writelines(f"{name}: {value}\n" for name, value in answer.getheaders())
        sys.stdout.write("\n")
    sys.stdout.write(answer.read().decode())


if __name__ == "__main__":
    main(sys.argv[1:])
