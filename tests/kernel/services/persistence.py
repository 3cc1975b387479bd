"""Stories about persistence: whose template it is, which server it names, and when it ends."""

from __future__ import annotations

from tests.kernel.scenario import SCTP, TCP, UDP
from tests.kernel.services.story import Book, Story, Way

STORIES = Book()
ALL = (
    Way(4, TCP, "nat"),
    Way(6, UDP, "nat"),
    Way(4, SCTP, "dr"),
    Way(6, TCP, "tun"),
)
MIXED = (Way(6, TCP, "nat"), Way(4, UDP, "dr"), Way(6, SCTP, "nat"), Way(4, TCP, "tun"))
ANY_PORT = {"port": 0}
PERSISTENT = "persistence"


@STORIES.about(PERSISTENT, *ALL)
def a_client_keeps_its_server(story: Story) -> None:
    story.serve(persistence_s=300)
    for cport in range(40000, 40005):
        story.open(cport=cport)
    story.open(2)


@STORIES.about(PERSISTENT, *MIXED)
def clients_of_one_network_share_a_template(story: Story) -> None:
    story.serve(persistence_s=300, prefix=24 if story.way.version == 4 else 64)
    for client in (1, 77, 254, 257, 300):
        story.establish(client)


@STORIES.about(PERSISTENT, Way(4, TCP, "nat"))
def all_clients_share_a_template_whose_netmask_is_empty(story: Story) -> None:
    story.serve(persistence_s=300, prefix=0)
    for client in (1, 257, 999):
        story.open(client)


@STORIES.about(PERSISTENT, *ALL)
def a_templates_timer_starts_anew_with_each_connection(story: Story) -> None:
    story.serve(persistence_s=100)
    for cport in range(40000, 40004):
        story.open(cport=cport)
        story.wait(70)
    story.wait(36)
    story.open(cport=50000)


@STORIES.about(PERSISTENT, *MIXED)
def a_packet_of_a_connection_does_not_start_its_templates_timer_anew(story: Story) -> None:
    story.serve(persistence_s=300)
    story.establish()
    for _ in range(3):
        story.wait(45)
        story.send(story.settled)


@STORIES.about(PERSISTENT, *ALL)
def a_template_ends_when_it_has_no_connections(story: Story) -> None:
    story.time_out(tcp_s=40, udp_s=40)
    story.serve(persistence_s=100)
    story.establish()
    story.wait(50)
    story.wait(20)
    story.wait(40)
    story.open(cport=40001)


@STORIES.about(PERSISTENT, *ALL)
def a_template_whose_connections_live_goes_on_in_steps_of_a_minute(story: Story) -> None:
    story.time_out(tcp_s=200, udp_s=200)
    story.serve(persistence_s=30)
    story.establish()
    story.wait(34)
    story.wait(40)
    story.open(cport=40001)
    story.wait(64)
    story.send(story.settled)
    story.wait(40)


@STORIES.about(PERSISTENT, *MIXED)
def a_template_that_lived_on_starts_anew_with_a_minute_only(story: Story) -> None:
    story.time_out(tcp_s=500, udp_s=500)
    story.serve(persistence_s=100)
    story.establish()
    story.wait(105)
    story.open(2)
    story.establish(cport=40001)
    story.wait(30)


@STORIES.about(PERSISTENT, *ALL)
def a_template_that_lived_on_ends_within_a_minute_of_its_last_connection(story: Story) -> None:
    story.time_out(tcp_s=45, udp_s=45)
    story.serve(persistence_s=30)
    story.establish()
    story.wait(33)
    story.wait(25)
    story.wait(45)
    story.open(cport=40001)


@STORIES.about(PERSISTENT, *ALL)
def a_template_to_a_removed_server_is_replaced_and_lives_out_its_time(story: Story) -> None:
    service = story.serve(persistence_s=100)
    story.establish()
    story.remove(service, 3)
    story.open(cport=40001)
    story.open(cport=40002)
    story.add(service, 3)
    story.open(cport=40003)
    story.open(2)
    story.wait(110)
    story.wait(70)


@STORIES.about(PERSISTENT, *MIXED)
def a_template_that_was_found_without_its_server_is_not_found_again(story: Story) -> None:
    service = story.serve(persistence_s=300, servers=2)
    story.establish()
    story.edit(service, 1, weight=0)
    story.remove(service, 2)
    story.open(cport=40001)
    story.add(service, 2)
    story.edit(service, 1)
    story.open(2)
    story.open(cport=40002)
    story.open(cport=40003)


@STORIES.about(PERSISTENT, *ALL)
def a_template_holds_when_its_server_was_away_for_a_while(story: Story) -> None:
    service = story.serve(persistence_s=300)
    story.establish()
    story.remove(service, 3)
    story.wait(20)
    story.add(service, 3, weight=2)
    story.open(cport=40001)
    story.send(story.settled)


@STORIES.about(PERSISTENT, *MIXED)
def three_templates_of_a_client_may_be_left_by_three_removed_servers(story: Story) -> None:
    service = story.serve(persistence_s=300)
    for number in (3, 2, 1):
        story.establish(cport=40000 + number)
        story.remove(service, number)
    story.open()
    for number in (3, 1, 2):
        story.add(service, number)
        story.open(cport=50000 + number)
    story.remove(service, 3)
    story.open(cport=60000)
    story.wait(330)


@STORIES.about(PERSISTENT, Way(4, TCP, "nat"), Way(6, UDP, "dr"))
def a_template_of_port_65535_is_replaced_as_well(story: Story) -> None:
    service = story.serve(65535, persistence_s=100)
    story.establish(vport=65535)
    story.remove(service, 3)
    story.open(cport=40001, vport=65535)
    story.wait(30)
    story.open(cport=40002, vport=65535)


@STORIES.about("quiesced servers", *ALL)
def a_template_to_a_quiesced_server_holds(story: Story) -> None:
    service = story.serve(persistence_s=300)
    story.establish()
    story.edit(service, 3, weight=0)
    story.open(cport=40001)
    for client in (2, 3, 4):
        story.open(client)


@STORIES.about("expire_quiescent_template", *ALL)
def a_template_to_a_quiesced_server_is_replaced(story: Story) -> None:
    story.set("expire_quiescent_template", 1)
    service = story.serve(persistence_s=300)
    story.establish()
    story.edit(service, 3, weight=0)
    story.open(cport=40001)
    story.send(story.settled)
    story.edit(service, 3, weight=1)
    story.open(cport=40002)


@STORIES.about("expire_quiescent_template", *MIXED)
def a_template_that_was_found_quiesced_is_not_found_again(story: Story) -> None:
    story.set("expire_quiescent_template", 1)
    service = story.serve(persistence_s=300, servers=2)
    story.establish()
    for number in (1, 2):
        story.edit(service, number, weight=0)
    story.open(cport=40001)
    for number in (1, 2):
        story.edit(service, number, weight=1)
    story.open(2)
    story.open(cport=40002)
    story.open(cport=40003)
    story.wait(330)


@STORIES.about("expire_quiescent_template", *MIXED)
def a_template_that_nobody_used_while_its_server_was_quiesced_holds(story: Story) -> None:
    story.set("expire_quiescent_template", 1)
    service = story.serve(persistence_s=300)
    story.establish()
    story.edit(service, 3, weight=0)
    story.edit(service, 3, weight=1)
    story.open(cport=40001)


@STORIES.about("thresholds", *ALL)
def a_template_to_an_overloaded_server_holds(story: Story) -> None:
    story.serve(persistence_s=300, scheduler="wlc", server={"upper": 2, "lower": 1})
    for client in range(1, 8):
        story.open(client)
    for client in range(1, 4):
        story.open(client, cport=40001)
    story.open(8)


@STORIES.about("thresholds", *MIXED)
def templates_do_not_count_towards_a_threshold(story: Story) -> None:
    story.time_out(tcp_s=30, udp_s=30)
    story.serve(persistence_s=300, servers=1, server={"upper": 2})
    story.establish(1)
    story.establish(2)
    story.open(3)
    story.wait(70)
    story.open(3)
    story.open(1, cport=40001)
    story.open(4)


@STORIES.about("any-port services", *ALL)
def a_client_finds_one_server_at_every_port(story: Story) -> None:
    story.serve(0, persistence_s=300, server=ANY_PORT)
    for vport in (80, 443, 50000):
        story.establish(vport=vport)
        story.open(2, vport=vport)


@STORIES.about("any-port services", *MIXED)
def every_port_without_a_service_of_its_own_is_any_ports(story: Story) -> None:
    story.serve(0, persistence_s=300, server=ANY_PORT)
    story.serve(80, persistence_s=300)
    for vport in (80, 81, 80, 21, 20, 22):
        story.open(vport=vport, cport=30000 + vport)
    story.open(vport=81, protocol=UDP if story.way.protocol == TCP else TCP)


@STORIES.about("any-port services", *ALL)
def any_port_without_persistence_serves_no_port(story: Story) -> None:
    service = story.serve(0, server=ANY_PORT)
    story.open()
    service = story.edit_service(service, persistence_s=100)
    story.open()
    story.edit_service(service, persistence_s=0)
    story.open(cport=40001)
    story.send(story.settled)


@STORIES.about("any-port services", *MIXED)
def an_any_port_servers_own_port_is_no_clients(story: Story) -> None:
    story.serve(0, persistence_s=300, server={"port": 8080, "forward": "nat"})
    story.open(vport=443)
    story.open(vport=80)


@STORIES.about("fwmark services", *ALL)
def all_that_bears_a_mark_shares_a_template(story: Story) -> None:
    story.serve(mark=1000 + story.number, persistence_s=300)
    mark = {"mark": 1000 + story.number}
    story.establish(vport=80, **mark)
    story.open(vport=443, vip=200, **mark)
    for protocol in (TCP, UDP, SCTP):
        story.open(vport=53, vip=201, protocol=protocol, **mark)
    story.open(2, **mark)
    story.open(3)


@STORIES.about("fwmark services", *MIXED)
def a_marks_persistent_server_gets_the_port_asked_for(story: Story) -> None:
    mark = 1000 + story.number
    service = story.serve(mark=mark, persistence_s=300, server={"port": 8080})
    story.open(vport=80, mark=mark)
    story.edit_service(service, persistence_s=0)
    story.open(vport=81, mark=mark)
    story.open(vport=82, mark=mark)


@STORIES.about("FTP's ports", Way(4, TCP, "nat"), Way(6, TCP, "dr"), Way(4, TCP, "tun"))
def control_and_data_connections_of_ftp_share_a_template(story: Story) -> None:
    story.serve(21, persistence_s=300, server={"port": 2121} if story.way.forward == "nat" else {})
    for vport in (21, 20, 50000, 1024, 1023, 22, 80):
        story.establish(vport=vport)
    story.open(2, vport=50000)
    story.open(2, vport=21)


@STORIES.about("FTP's ports", Way(6, TCP, "nat"), Way(4, TCP, "dr"))
def ftp_and_any_port_share_a_clients_template(story: Story) -> None:
    ftp = story.serve(21, persistence_s=300, server={"port": 21}, scheduler="wlc")
    story.serve(0, persistence_s=100, scheduler="mh", server=ANY_PORT)
    story.establish(1, vport=80)
    story.establish(1, vport=21)
    story.establish(2, vport=21)
    story.establish(2, vport=22)
    story.send("FA", 2, vport=22)
    story.remove(ftp, 3)
    story.open(2, vport=23)
    story.open(3, vport=21)
    story.wait(130)


@STORIES.about("edited services", *ALL)
def persistence_that_is_switched_on_is_for_new_connections(story: Story) -> None:
    service = story.serve()
    story.establish()
    story.edit_service(service, persistence_s=100)
    story.send(story.settled)
    story.open(cport=40001)
    story.open(cport=40002)
    story.send(story.settled)
    story.wait(30)


@STORIES.about("edited services", *MIXED)
def templates_outlive_persistence_that_is_switched_off(story: Story) -> None:
    service = story.serve(persistence_s=300)
    story.establish()
    service = story.edit_service(service, persistence_s=0)
    for cport in range(40001, 40004):
        story.open(cport=cport)
    story.edit_service(service, persistence_s=50)
    story.open(cport=40005)
    story.wait(70)
    story.open(2)


@STORIES.about("edited services", *ALL)
def a_template_keeps_the_timeout_that_it_was_made_with(story: Story) -> None:
    service = story.serve(persistence_s=300)
    story.establish()
    service = story.edit_service(service, persistence_s=100)
    story.wait(10)
    story.open(cport=40001)
    story.open(2)
    story.edit_service(service, persistence_s=200)
    story.open(2, cport=40001)
    story.open(3)


@STORIES.about("edited services", *MIXED)
def another_netmask_makes_other_templates(story: Story) -> None:
    service = story.serve(persistence_s=300)
    story.establish(1)
    story.establish(2)
    service = story.edit_service(service, prefix=24 if story.way.version == 4 else 64)
    for client in (1, 2, 3, 257):
        story.open(client, cport=40001)
    story.edit_service(service, prefix=None)
    for client in (1, 2, 3):
        story.open(client, cport=40002)


@STORIES.about("edited services", *ALL)
def templates_outlive_another_scheduler(story: Story) -> None:
    service = story.serve(persistence_s=300)
    story.open(1)
    for scheduler in ("wlc", "sh", "mh", "lblcr", "rr"):
        service = story.edit_service(service, scheduler=scheduler)
        story.open(1, cport=40001)
        story.open(2)
        story.open(3)
