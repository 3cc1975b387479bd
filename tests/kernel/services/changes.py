"""Stories about ports that are used again, sloppiness, edits and timeouts."""

from __future__ import annotations

from tests.kernel.scenario import SCTP, TCP, UDP
from tests.kernel.services.story import HANDSHAKE, Book, Story, Way

STORIES = Book()
ALL = (
    Way(6, TCP, "nat"),
    Way(4, UDP, "nat"),
    Way(6, SCTP, "tun"),
    Way(4, TCP, "dr"),
)
MIXED = (Way(4, TCP, "nat"), Way(6, UDP, "tun"), Way(4, SCTP, "nat"), Way(6, TCP, "dr"))
OVER_TCP = (Way(4, TCP, "nat"), Way(6, TCP, "dr"), Way(4, TCP, "tun"))
OVER_SCTP = (Way(4, SCTP, "nat"), Way(6, SCTP, "dr"))

NODEST = "expire_nodest_conn"

# --- ports that are used again --------------------------------------------------------------

REUSE = "conn_reuse_mode"
OPEN, ENDINGS = ("S", "A"), (("FA",), ("R",), ("FA", "FA"), ("FA", "A"), ("",), ())


def _use_again(story: Story, mode: int, before: tuple[tuple[str, ...], ...]) -> None:
    story.set(REUSE, mode)
    story.serve()
    for client, ending in enumerate((*before, *((*OPEN, *ending) for ending in ENDINGS)), 1):
        for flags in ending:
            story.send(flags, client)
        story.open(client)
        story.send("A", client)


TO_TIME_WAIT = (("S", "FA"), ("S", "R"), ("S",))


@STORIES.about(REUSE, *OVER_TCP)
def a_port_that_is_used_again_stays_with_its_server_in_mode_0(story: Story) -> None:
    _use_again(story, 0, TO_TIME_WAIT)


@STORIES.about(REUSE, *OVER_TCP)
def a_port_is_used_again_after_time_wait_or_close_in_mode_1(story: Story) -> None:
    _use_again(story, 1, TO_TIME_WAIT)


@STORIES.about(REUSE, *OVER_TCP)
def a_port_is_used_again_after_fin_wait_in_mode_2(story: Story) -> None:
    _use_again(story, 2, TO_TIME_WAIT)


@STORIES.about(REUSE, *OVER_TCP)
def a_port_is_used_again_after_fin_wait_in_mode_3(story: Story) -> None:
    _use_again(story, 3, TO_TIME_WAIT)


@STORIES.about(REUSE, *OVER_TCP)
def a_port_that_is_used_again_stays_with_its_server_by_its_template(story: Story) -> None:
    story.serve(persistence_s=300)
    for client in (1, 2):
        story.establish(client)
        story.send("R", client)
    for client in (2, 1):
        story.open(client)


@STORIES.about(REUSE, Way(4, TCP, "nat"), Way(6, TCP, "nat"))
def a_port_is_used_again_when_the_server_had_closed_first(story: Story) -> None:
    story.serve()
    for client, flags in ((1, ("SA", "FA")), (2, ("SA", "R")), (3, ("R",))):
        story.send("S", client)
        for each in flags:
            story.answer(3 if client != 2 else 2, each, client)
    for client in (1, 2, 3):
        story.send("FA", client)
        story.open(client)


@STORIES.about(REUSE, *OVER_SCTP)
def a_port_is_used_again_after_an_sctp_association_has_ended(story: Story) -> None:
    story.serve()
    for client, last in ((1, "ABORT"), (2, "SHUTDOWN"), (3, "SHUTDOWN-COMPLETE"), (4, "DATA")):
        story.establish(client)
        story.send(last, client)
        story.open(client)
    story.set(REUSE, 0)
    story.send("ABORT", 1)
    story.open(1)


@STORIES.about(REUSE, *OVER_TCP)
def a_syn_with_a_rst_ends_what_was_closed_and_opens_nothing(story: Story) -> None:
    story.serve()
    story.establish()
    story.send("R")
    story.send("SR")
    story.send("SR", 2)


# --- sloppiness -----------------------------------------------------------------------------


@STORIES.about("sloppy_tcp", *OVER_TCP)
def any_segment_but_a_rst_opens_a_connection(story: Story) -> None:
    story.serve()
    for sloppy in (1, 0):
        story.set("sloppy_tcp", sloppy)
        for client, flags in enumerate(
            ("A", "FA", "", "R", "SR", "SA", "PA", "U"), 10 * sloppy + 1
        ):
            story.send(flags, client)
            story.send("A", client)


@STORIES.about("sloppy_tcp", *OVER_TCP)
def a_segment_for_a_removed_server_goes_to_another(story: Story) -> None:
    story.set("sloppy_tcp", 1)
    service = story.serve(persistence_s=100)
    story.establish()
    story.remove(service, 3)
    story.send("A")
    story.set(NODEST, 1)
    story.send("A")
    story.send("A")
    story.send("R")


@STORIES.about("sloppy_sctp", *OVER_SCTP)
def any_packet_but_an_abort_opens_an_association(story: Story) -> None:
    story.serve()
    kinds = ("DATA", "COOKIE-ECHO", "ABORT", "SHUTDOWN", "COOKIE-ECHO+DATA", "INIT", "INIT-ACK")
    for sloppy in (1, 0):
        story.set("sloppy_sctp", sloppy)
        for client, what in enumerate(kinds, 20 * sloppy + 1):
            story.send(what, client)
            story.send("DATA", client)


@STORIES.about("sloppy_sctp", *OVER_SCTP)
def a_cookie_with_an_abort_behind_it_opens_an_association_that_is_closed(story: Story) -> None:
    story.set("sloppy_sctp", 1)
    story.serve()
    story.send("COOKIE-ECHO+ABORT", 1)
    story.send("COOKIE-ACK+ABORT", 2)
    story.send("ABORT+COOKIE-ECHO", 3)


# --- edits and timeouts ---------------------------------------------------------------------

EDITED = "edited services"


@STORIES.about(EDITED, *MIXED)
def connections_keep_the_way_that_they_began_with(story: Story) -> None:
    service = story.serve(443, servers=1, server={"port": 443, "forward": "dr"})
    story.establish(1, vport=443)
    for client, forward in ((2, "nat"), (3, "tun"), (4, "nat")):
        story.edit(service, 1, port=443, forward=forward)
        story.send(story.settled, 1, vport=443)
        story.establish(client, vport=443)
        story.send(story.settled, 2, vport=443)


@STORIES.about(EDITED, *ALL)
def connections_outlive_another_scheduler(story: Story) -> None:
    service = story.serve()
    for number, scheduler in enumerate(("wlc", "lc", "sed", "nq", "wrr", "dh", "fo", "ovf"), 1):
        service = story.edit_service(service, scheduler=scheduler)
        story.establish(number)
        story.send(story.settled, 1)


@STORIES.about(EDITED, *ALL)
def what_is_there_already_cannot_be_added_and_what_is_not_cannot_be_changed(story: Story) -> None:
    story.keep_looking()
    service = story.serve(servers=1)
    story.serve(servers=0)
    story.add(service, 1)
    story.edit(service, 2)
    story.remove(service, 2)
    story.remove_service(service)
    story.remove_service(service)
    story.edit_service(service, persistence_s=300)
    story.add(service, 1)


SET = "timeouts by --set"


@STORIES.about(SET, *ALL)
def a_timeout_that_was_set_holds_from_the_next_packet_on(story: Story) -> None:
    story.serve()
    story.establish(1)
    story.establish(2)
    story.time_out(tcp_s=50, udp_s=30)
    story.send(story.settled, 1)
    story.open(3)
    story.wait(40)
    story.wait(25)
    story.send(story.settled, 2)


@STORIES.about(SET, *OVER_TCP)
def a_fins_timeout_is_set_apart(story: Story) -> None:
    story.serve()
    story.time_out(tcp_fin_s=20)
    story.establish(1)
    story.send("FA", 1)
    story.send("S", 2)
    story.send("FA", 2)
    story.wait(30)
    story.time_out(tcp_s=1000)
    story.establish(3)


@STORIES.about(SET, *MIXED)
def zero_leaves_a_timeout_as_it_is(story: Story) -> None:
    story.serve()
    story.time_out(tcp_s=100, udp_s=100)
    story.time_out()
    story.time_out(tcp_fin_s=7)
    for client, what in enumerate(HANDSHAKE[story.way.protocol], 1):
        story.send(what, client)


@STORIES.about("states and timeouts", *ALL)
def every_state_ends_in_its_own_time(story: Story) -> None:
    story.serve(scheduler="wlc")
    endings = {
        TCP: (("S",), ("S", "A", "FA"), ("S", "A", "R"), ("S", "FA"), ("S", "A")),
        UDP: (("",),),
        SCTP: (("INIT",), ("INIT", "COOKIE-ECHO", "SHUTDOWN"), ("INIT", "COOKIE-ECHO")),
    }
    for client, whats in enumerate(endings[story.way.protocol], 1):
        for what in whats:
            story.send(what, client)
    for seconds in (7, 8, 50, 30, 50, 200, 600):
        story.wait(seconds)
