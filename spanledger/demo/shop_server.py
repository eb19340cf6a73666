"""The shop's back office as an MCP server over stdio: the official SDK, four tools, its own telemetry.

The data are a few dictionaries, but what the tools do with them is real: a parcel that the carrier has never scanned
is a tool error because it is not in the carrier's table, a refund is booked and cannot be booked twice. Standard output
belongs to the protocol, so whatever this process has to say goes to standard error.
"""

import argparse
import signal
import sys

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel

from spanledger.demo.telemetry import DemoError, normalised_endpoint, record_to

SERVICE_NAME = "fernhill-backoffice-mcp"
SERVICE_VERSION = "2.4.0"

# An MCP client gives a stdio server two seconds from the end of its input, then SIGTERM, then two more: ignoring the
# SIGTERM while the last spans leave makes it four.
EXPORT_TIMEOUT_S = 3.0

READ_ONLY = ToolAnnotations(read_only_hint=True)
CHANGES_MONEY = ToolAnnotations(read_only_hint=False, destructive_hint=True)


class OrderLine(BaseModel):
    sku: str
    name: str
    price_eur: float
    parcel: str
    state: str


class Order(BaseModel):
    order_id: str
    customer: str
    paid_eur: float
    lines: list[OrderLine]


class Scan(BaseModel):
    parcel: str
    place: str
    state: str


class Refund(BaseModel):
    refund_id: str
    order_id: str
    sku: str
    amount_eur: float
    state: str


class Voucher(BaseModel):
    code: str
    customer: str
    amount_eur: float


class BackOffice:
    """The shop's records. One instance a process: what a tool books stays booked until the process ends."""

    def __init__(self) -> None:
        self.orders = {
            "FP-1042": Order(
                order_id="FP-1042",
                customer="Ines Carvalho",
                paid_eur=102.0,
                lines=[
                    OrderLine(
                        sku="TEAPOT-CELADON",
                        name="celadon teapot",
                        price_eur=48.0,
                        parcel="HP-77013",
                        state="delivered",
                    ),
                    OrderLine(
                        sku="CUP-CELADON-6",
                        name="six celadon cups",
                        price_eur=54.0,
                        parcel="HP-77014",
                        state="label printed",
                    ),
                ],
            )
        }
        self.carrier_scans = {"HP-77013": Scan(parcel="HP-77013", place="front door", state="delivered")}
        self.refunds: dict[tuple[str, str], Refund] = {}
        self.vouchers: list[Voucher] = []

    def order(self, order_id: str) -> Order:
        """Raises ToolError for an order that is not in the books."""
        if order_id not in self.orders:
            raise ToolError(f"There is no order {order_id}. Order numbers look like FP-1042; ask the customer again.")
        return self.orders[order_id]

    def last_scan(self, parcel: str) -> Scan:
        """Raises ToolError for a parcel that the carrier has not scanned."""
        if parcel not in self.carrier_scans:
            raise ToolError(
                f"Heron Post does not know parcel {parcel}: its label was printed but it was never scanned. "
                "Trying again will not help before the warehouse has handed it over."
            )
        return self.carrier_scans[parcel]

    def refund(self, order_id: str, sku: str, amount_eur: float) -> Refund:
        """Raises ToolError for an unknown line, more than its price, or a line that was refunded before."""
        lines = {line.sku: line for line in self.order(order_id).lines}
        if sku not in lines:
            raise ToolError(f"Order {order_id} has no article {sku}; it has {', '.join(lines)}.")
        if amount_eur > lines[sku].price_eur:
            raise ToolError(f"{amount_eur:.2f} EUR is more than the {lines[sku].price_eur:.2f} EUR paid for {sku}.")
        if (order_id, sku) in self.refunds:
            raise ToolError(f"{sku} of order {order_id} was refunded before: {self.refunds[order_id, sku].refund_id}.")
        booked = Refund(
            refund_id=f"RF-{order_id.removeprefix('FP-')}-{len(self.refunds) + 1}",
            order_id=order_id,
            sku=sku,
            amount_eur=amount_eur,
            state="booked, on the card in 3 working days",
        )
        self.refunds[order_id, sku] = booked
        return booked

    def voucher(self, customer: str, amount_eur: float) -> Voucher:
        issued = Voucher(code=f"FERNHILL-{len(self.vouchers) + 1:04d}", customer=customer, amount_eur=amount_eur)
        self.vouchers.append(issued)
        return issued


def build_server(books: BackOffice) -> MCPServer:
    """The MCP server with its four tools over `books`. Not running yet."""
    server = MCPServer("fernhill-backoffice", version=SERVICE_VERSION, log_level="ERROR")

    @server.tool(annotations=READ_ONLY)
    def get_order(order_id: str) -> Order:
        """Look an order up by its number: what was bought, what was paid, which parcel carries what."""
        return books.order(order_id)

    @server.tool(annotations=READ_ONLY)
    def track_parcel(parcel: str) -> Scan:
        """Ask the carrier where a parcel was last scanned."""
        return books.last_scan(parcel)

    @server.tool(annotations=CHANGES_MONEY)
    def refund_order(order_id: str, sku: str, amount_eur: float, reason: str) -> Refund:
        """Pay one article of an order back to the customer's card. The reason is printed on the credit note."""
        del reason  # it is for the person who approves; the books keep the amount
        return books.refund(order_id, sku, amount_eur)

    @server.tool(annotations=CHANGES_MONEY)
    def issue_voucher(customer: str, amount_eur: float, reason: str) -> Voucher:
        """Give a customer a voucher for the next order."""
        del reason
        return books.voucher(customer, amount_eur)

    return server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m spanledger.demo.shop_server", description=__doc__)
    parser.add_argument("--endpoint", required=True, help="base address of an OTLP/HTTP receiver")
    try:
        endpoint = normalised_endpoint(parser.parse_args().endpoint)
        telemetry = record_to(
            endpoint, service_name=SERVICE_NAME, service_version=SERVICE_VERSION, timeout_s=EXPORT_TIMEOUT_S
        )
        try:
            build_server(BackOffice()).run("stdio")
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            telemetry.finish()
    except DemoError as error:
        print(f"shop_server: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
