"""Stories about one-packet scheduling, and about which service a packet belongs to."""

from __future__ import annotations

from tests.kernel.scenario import SCTP, TCP, UDP
from tests.kernel.services.story import Book, Story, Way

STORIES = Book()
ALL = (
    Way(6, TCP, "nat"),
    Way(4, UDP, "nat"),
    Way(6, SCTP, "tun"),
    Way(4, TCP, "dr"),
)
MIXED = (Way(4, TCP, "nat"), Way(6, UDP, "tun"), Way(4, SCTP, "nat"), Way(6, TCP, "dr"))
OVER_UDP = (Way(4, UDP, "nat"), Way(6, UDP, "dr"), Way(4, UDP, "tun"))
OVER_TCP = (Way(4, TCP, "nat"), Way(6, TCP, "dr"), Way(4, TCP, "tun"))

# --- one-packet scheduling ------------------------------------------------------------------

ONE_PACKET = "one-packet scheduling"


@STORIES.about(ONE_PACKET, *OVER_UDP)
def every_datagram_is_scheduled_and_leaves_no_entry(story: Story) -> None:
    story.serve(one_packet=True)
    for _ in range(4):
        story.open()
    story.answer(3)
    story.open(2)


@STORIES.about(ONE_PACKET, *OVER_UDP)
def a_connection_from_before_goes_on_under_one_packet_scheduling(story: Story) -> None:
    service = story.serve()
    story.open()
    service = story.edit_service(service, one_packet=True)
    for client in (1, 2, 1, 2):
        story.open(client)
    story.wait(320)
    story.open()
    story.edit_service(service, one_packet=False)
    story.open()
    story.open()


@STORIES.about(ONE_PACKET, *OVER_UDP)
def a_datagram_that_is_scheduled_alone_restarts_its_template(story: Story) -> None:
    service = story.serve(one_packet=True, persistence_s=100)
    story.open(1)
    story.wait(60)
    story.open(1)
    story.open(2)
    story.edit(service, 3, weight=0)
    story.open(1)
    story.wait(120)
    story.open(1)


@STORIES.about(ONE_PACKET, *OVER_UDP)
def a_datagram_that_is_scheduled_alone_overloads_nobody(story: Story) -> None:
    story.serve(one_packet=True, scheduler="wlc", server={"upper": 1})
    for client in (1, 2, 3):
        story.open(client)
        story.open(client)


@STORIES.about(ONE_PACKET, *OVER_TCP)
def one_packet_scheduling_of_a_mark_is_for_udp_alone(story: Story) -> None:
    mark = 1000 + story.number
    story.serve(mark=mark, one_packet=True)
    for protocol in (TCP, UDP, SCTP, TCP, UDP, SCTP):
        story.open(mark=mark, protocol=protocol, cport=30000 + protocol)


# --- marks, ports and their order -----------------------------------------------------------


@STORIES.about("service look-up", *ALL)
def a_mark_goes_before_an_endpoint(story: Story) -> None:
    story.keep_looking()
    mark = 1000 + story.number
    story.serve(servers=1)
    marked = story.serve(mark=mark, servers=2)
    story.open(1, mark=mark)
    story.open(2)
    story.open(3, mark=mark + 300)
    story.remove_service(marked)
    story.open(4, mark=mark)
    story.send(story.settled, 1, mark=mark)
    story.send(story.settled, 1)


@STORIES.about("service look-up", *MIXED)
def a_mark_without_servers_refuses_what_an_endpoint_would_take(story: Story) -> None:
    mark = 1000 + story.number
    story.serve()
    marked = story.serve(mark=mark, servers=0)
    story.open(mark=mark)
    story.add(marked, 9)
    story.open(mark=mark)


@STORIES.about("service look-up", *OVER_TCP)
def ftps_data_ports_go_to_ftp_before_any_port(story: Story) -> None:
    story.serve(0, persistence_s=300, server={"port": 0}, servers=1)
    story.serve(21, persistence_s=300, servers=2)
    story.serve(2000, servers=3)
    for client, vport in enumerate((20, 21, 22, 1023, 1024, 2000, 65535), 1):
        story.open(client, vport=vport)


@STORIES.about("service look-up", Way(4, UDP, "nat"), Way(6, SCTP, "dr"))
def ftp_is_of_tcp_alone(story: Story) -> None:
    story.serve(21, persistence_s=300)
    for vport in (21, 20, 2000):
        story.open(vport=vport)


@STORIES.about("FTP's ports", *OVER_TCP)
def ftp_without_persistence_leaves_its_data_ports_alone(story: Story) -> None:
    story.serve(21)
    for vport in (21, 20, 50000):
        story.open(vport=vport)


@STORIES.about("FTP's ports", *MIXED)
def nothing_from_port_20_opens_a_connection(story: Story) -> None:
    service = story.serve()
    story.open(cport=20)
    story.edit_service(service, persistence_s=100)
    story.open(cport=20)
    story.open(cport=21)


@STORIES.about("fwmark services", *ALL)
def a_marks_servers_get_the_port_that_they_have_or_the_one_asked_for(story: Story) -> None:
    mark = 1000 + story.number
    service = story.serve(mark=mark, servers=0)
    story.add(service, 1, port=8080)
    story.add(service, 2, port=0)
    for vport in (80, 81, 8080):
        for client in (1, 2):
            story.open(client, vport=vport, mark=mark, vip=210)


@STORIES.about("fwmark services", *MIXED)
def a_connection_goes_on_without_its_mark(story: Story) -> None:
    mark = 1000 + story.number
    story.serve(mark=mark)
    story.establish(mark=mark)
    story.send(story.settled)
    story.open(2)
