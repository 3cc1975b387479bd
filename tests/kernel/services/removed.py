"""Stories about servers and services that go, are quiesced or full, and come back."""

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
OVER_TCP = (Way(4, TCP, "nat"), Way(6, TCP, "dr"), Way(4, TCP, "tun"))

# --- servers that go ------------------------------------------------------------------------

REMOVED = "removed servers"


@STORIES.about(REMOVED, *ALL)
def packets_to_a_removed_server_are_dropped(story: Story) -> None:
    service = story.serve(scheduler="wlc")
    story.establish(1)
    story.establish(2)
    story.remove(service, 3)
    story.send(story.settled, 1)
    story.wait(20)
    story.open(1)
    story.send(story.settled, 1)
    story.open(3)


@STORIES.about(REMOVED, *MIXED)
def a_server_that_comes_back_goes_on_with_its_connections(story: Story) -> None:
    service = story.serve(scheduler="wlc")
    for client in range(1, 7):
        story.establish(client)
    story.remove(service, 2)
    story.remove(service, 3)
    story.open(7)
    story.add(service, 2, weight=3)
    story.add(service, 3)
    for client in range(1, 9):
        story.send(story.settled, client)
        story.open(client, cport=40001)


@STORIES.about(REMOVED, *ALL)
def connections_of_a_removed_server_time_out(story: Story) -> None:
    service = story.serve(scheduler="wlc")
    story.time_out(tcp_s=45, udp_s=45)
    story.establish(1)
    story.remove(service, 3)
    story.wait(30)
    story.send(story.settled)
    story.wait(40)
    story.add(service, 3)
    story.open(1)


@STORIES.about(REMOVED, Way(4, TCP, "nat"), Way(6, UDP, "nat"), Way(4, SCTP, "nat"))
def replies_of_a_removed_server_put_the_end_off(story: Story) -> None:
    service = story.serve()
    story.time_out(tcp_s=45, udp_s=45)
    story.establish(1)
    story.remove(service, 3)
    story.wait(30)
    story.answer(3, {TCP: "A", UDP: "", SCTP: "COOKIE-ACK"}[story.way.protocol])
    story.wait(30)
    story.answer(3, {TCP: "FA", UDP: "", SCTP: "SHUTDOWN"}[story.way.protocol])
    story.add(service, 3)


@STORIES.about("removed services", *ALL)
def a_service_that_comes_back_finds_its_connections_and_templates(story: Story) -> None:
    story.keep_looking()
    service = story.serve(persistence_s=300, scheduler="wlc")
    story.establish(1)
    story.establish(2)
    story.remove_service(service)
    story.send(story.settled, 1)
    story.open(3)
    story.serve(persistence_s=100, scheduler="rr", servers=2)
    story.send(story.settled, 1)
    story.send(story.settled, 2)
    for client in (1, 2, 3):
        story.open(client, cport=40001)
    story.add(service, 3)
    story.open(1, cport=40002)


@STORIES.about("removed services", *MIXED)
def a_service_goes_and_comes_twice_and_its_connections_time_out(story: Story) -> None:
    story.keep_looking()
    story.time_out(tcp_s=100, udp_s=100)
    service = story.serve(scheduler="wlc")
    story.establish(1)
    story.remove_service(service)
    story.wait(30)
    story.serve(scheduler="wlc", servers=3)
    story.establish(2)
    story.remove_service(service)
    story.wait(50)
    story.serve(scheduler="wlc", servers=3)
    story.wait(40)
    story.send(story.settled, 2)
    story.open(3)
    story.open(1)


@STORIES.about("removed services", *ALL)
def a_removed_services_port_is_another_services(story: Story) -> None:
    story.keep_looking()
    story.serve(0, persistence_s=300, server={"port": 0}, servers=1)
    service = story.serve(servers=2)
    story.establish(1)
    story.remove_service(service)
    story.send(story.settled, 1)
    story.open(1)
    story.open(2)
    story.set("expire_nodest_conn", 1)
    story.open(1)
    story.send(story.settled, 1)


@STORIES.about("removed services", *MIXED)
def a_mark_that_comes_back_finds_its_connections(story: Story) -> None:
    story.keep_looking()
    mark = 1000 + story.number
    service = story.serve(mark=mark, persistence_s=200)
    story.establish(mark=mark)
    story.remove_service(service)
    story.send(story.settled, mark=mark)
    story.serve(mark=mark, persistence_s=200)
    story.send(story.settled, mark=mark)
    story.open(mark=mark, vport=81)


NODEST = "expire_nodest_conn"


@STORIES.about(NODEST, *ALL)
def the_connections_of_a_removed_server_end(story: Story) -> None:
    story.set(NODEST, 1)
    service = story.serve(scheduler="wlc")
    for client in range(1, 7):
        story.establish(client)
    story.remove(service, 3)
    story.send(story.settled, 1)
    story.open(1)
    story.add(service, 3)
    story.send(story.settled, 4)
    for client in range(7, 12):
        story.open(client)


@STORIES.about(NODEST, *MIXED)
def the_templates_of_a_removed_server_end(story: Story) -> None:
    story.set(NODEST, 1)
    service = story.serve(scheduler="wlc", persistence_s=300)
    for client in range(1, 5):
        story.open(client)
        story.establish(client, cport=40001)
    story.remove(service, 3)
    story.send(story.settled, 1)
    story.add(service, 3)
    for client in range(1, 7):
        story.open(client, cport=40002)


@STORIES.about(NODEST, *ALL)
def what_was_left_before_ends_with_the_next_packet_or_the_next_removal(story: Story) -> None:
    service = story.serve(scheduler="wlc")
    for client in range(1, 10):
        story.establish(client)
    story.remove(service, 3)
    story.set(NODEST, 1)
    story.wait(3)
    story.send(story.settled, 1)
    story.open(1)
    story.set(NODEST, 0)
    story.send(story.settled, 4)
    story.set(NODEST, 1)
    story.remove(service, 2)
    story.open(4)


@STORIES.about(NODEST, *MIXED)
def the_connections_of_a_removed_service_end(story: Story) -> None:
    story.keep_looking()
    story.set(NODEST, 1)
    service = story.serve(persistence_s=300)
    story.establish(1)
    story.open(2)
    story.remove_service(service)
    story.wait(1.5)
    story.send(story.settled, 1)
    story.serve(persistence_s=300)
    story.send(story.settled, 1)
    story.open(1)


@STORIES.about(NODEST, *ALL)
def a_connection_that_opens_anew_leaves_a_quiesced_server(story: Story) -> None:
    story.set(NODEST, 1)
    service = story.serve()
    story.establish(1)
    story.edit(service, 3, weight=0)
    story.send(story.settled, 1)
    story.open(1)
    story.send(story.settled, 1)


@STORIES.about(NODEST, *MIXED)
def a_connection_that_opens_anew_stays_with_a_quiesced_server_by_its_template(story: Story) -> None:
    story.set(NODEST, 1)
    service = story.serve(persistence_s=300)
    story.establish(1)
    story.edit(service, 3, weight=0)
    story.open(1)
    story.set("expire_quiescent_template", 1)
    story.open(1)
    story.open(1)


@STORIES.about(NODEST, *ALL)
def a_connection_that_opens_anew_ends_even_when_nobody_takes_it(story: Story) -> None:
    story.set(NODEST, 1)
    service = story.serve(servers=1)
    story.establish(1)
    story.edit(service, 1, weight=0)
    story.open(1)
    story.send(story.settled, 1)


# --- quiesced servers -----------------------------------------------------------------------

QUIESCED = "quiesced servers"


@STORIES.about(QUIESCED, *ALL)
def connections_of_a_quiesced_server_go_on(story: Story) -> None:
    service = story.serve(scheduler="wlc")
    for client in range(1, 4):
        story.establish(client)
    story.edit(service, 3, weight=0)
    for client in range(1, 4):
        story.send(story.settled, client)
        story.open(client, cport=40001)
    story.open(1)
    story.edit(service, 3, weight=1)
    for client in range(4, 8):
        story.open(client)


@STORIES.about(QUIESCED, *MIXED)
def nobody_takes_a_connection_when_all_are_quiesced(story: Story) -> None:
    service = story.serve(servers=2)
    story.establish(1)
    for number in (1, 2):
        story.edit(service, number, weight=0)
    story.open(2)
    story.send(story.settled, 1)
    story.edit(service, 1, weight=2)
    story.open(2)


@STORIES.about(QUIESCED, *OVER_TCP)
def a_port_that_is_used_again_leaves_a_quiesced_server(story: Story) -> None:
    service = story.serve()
    for client in (1, 2, 3):
        story.establish(client)
        story.send("R", client)
    story.edit(service, 2, weight=0)
    for client in (1, 2, 3):
        story.open(client)


@STORIES.about("thresholds", *ALL)
def an_overloaded_server_gets_nothing_new_until_it_is_below(story: Story) -> None:
    story.time_out(tcp_s=40, udp_s=40)
    service = story.serve(scheduler="wlc", servers=2, server={"upper": 3, "lower": 2})
    for client in range(1, 9):
        story.establish(client)
    story.wait(20)
    for client in (1, 2):
        story.send(story.settled, client)
    story.wait(60)
    story.edit(service, 1, upper=1)
    for client in range(9, 14):
        story.open(client)


@STORIES.about("thresholds", *MIXED)
def a_server_comes_back_overloaded(story: Story) -> None:
    service = story.serve(scheduler="wlc", servers=2, server={"upper": 2})
    for client in range(1, 5):
        story.establish(client)
    story.remove(service, 2, upper=2)
    story.add(service, 2, upper=2)
    story.open(5)
    story.remove(service, 2)
    story.add(service, 2, upper=5)
    story.open(5)
