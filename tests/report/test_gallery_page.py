"""The gallery of groups in a real browser: what it shows, what corrections do, and the CSV it writes."""

import dataclasses
import io
import json
import random
import time

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from skinbit.report.gallery import Gallery, GroupCard, Link, PhotographCard, render_gallery

DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
HOSTILE = ("a,b", 'say "so"', " padded ", "é 痣", "<b>bold</b>", "</script><script>document.title='owned'</script>")
COLUMNS = ("image_id", "cluster_id", "similarity_to_nearest")


def gallery(
    members, *, known=(), lesions=(), margins=(), links=(None, None), checks=(), columns=COLUMNS, thumbnails=None
):
    """A gallery of the groups `members`, tuples of image ids; `known` holds (image id, lesion id) pairs.

    The nearest of a photograph is the next one of its group, or of the gallery where it is alone.
    """
    ids = tuple(dict.fromkeys(image_id for group in members for image_id in group))
    nearest = {}
    for group in members:
        for image_id in group:
            pool = group if len(group) > 1 else ids
            nearest[image_id] = pool[(pool.index(image_id) + 1) % len(pool)] if len(ids) > 1 else ""
    photographs = [
        PhotographCard(i, repr(0.9 + k / 7e4) if nearest[i] else "", "", nearest[i], "") for k, i in enumerate(ids)
    ]
    photographs += [PhotographCard(image_id, "", "", "", lesion_id) for image_id, lesion_id in known]
    groups = []
    for number, group in enumerate(members):
        lesion = dict(lesions).get(number, "")
        margin = dict(enumerate(margins)).get(number, 0.01 * (number + 1))
        shown = tuple(image_id for image_id, lesion_id in known if lesion_id == lesion)
        reasons = ("Its weakest link is hardly above the cut.",) if number in checks else ()
        groups.append(GroupCard(number, lesion, tuple(group), shown, margin, links, number in checks, reasons))
    if thumbnails is None:
        thumbnails = {(f"known:{p.image_id}" if p.lesion_id else p.image_id): DOT for p in photographs}
    title = f"{len(ids)} photographs in {len(groups)} groups"
    return Gallery(title, {"model": "m"}, tuple(photographs), tuple(groups), (), thumbnails, columns)


def pipeline_csv(shown, group_of=None, lesion_of=None):
    """The CSV as pandas writes it; by hand-kept tables of groups and lesions, if given."""
    new = [photograph for photograph in shown.photographs if not photograph.lesion_id]
    group_of = group_of or {image_id: group.cluster_id for group in shown.groups for image_id in group.image_ids}
    lesion_of = {group.cluster_id: group.lesion_id for group in shown.groups} if lesion_of is None else lesion_of
    table = pd.DataFrame(
        {
            "image_id": [photograph.image_id for photograph in new],
            "cluster_id": pd.factorize(pd.Series([group_of[p.image_id] for p in new], dtype=int))[0],
            "similarity_to_nearest": [float(p.similarity) if p.similarity else None for p in new],
            "lesion_id": [lesion_of.get(group_of[photograph.image_id], "") for photograph in new],
        }
    )
    return table[list(shown.csv_columns)].to_csv(index=False, lineterminator="\n")


class Page:
    """The page as a person uses it."""

    def __init__(self, browser, path):
        self.browser, self.path = browser, path

    def open(self, shown):
        self.path.write_text(render_gallery(shown), encoding="utf-8", newline="")
        self.browser.get("about:blank")
        for kind in ("browser", "performance"):
            self.browser.get_log(kind)
        self.browser.get(self.path.as_uri())
        return self

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def click(self, selector):
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)

    def numbers(self):
        """Groups and images without a partner in the order of the page."""
        return self.run("return [...document.querySelectorAll('[data-group]')].map((e) => Number(e.dataset.group))")

    def tick(self, *image_ids):
        for image_id in image_ids:
            row = self.run("return photographs.findIndex((p) => p.id === arguments[0])", image_id)
            self.click(f"#groups [data-kind=photograph][value='{row}']")

    def tick_groups(self, *numbers):
        for number in numbers:
            self.click(f"#groups [data-kind=group][value='{number}']")

    def move(self, *image_ids, to):
        self.tick(*image_ids)
        self.find("#target").clear()
        self.find("#target").send_keys(to, Keys.ENTER)

    def groups(self):
        """Image ids by group number."""
        script = "return groups.map((group) => [group.number, group.rows.map((row) => photographs[row].id)])"
        return dict(self.run(script))

    def said(self):
        return self.find("#said").text

    def csv(self):
        return self.run("return csvOf(now())")

    def download(self):
        target = self.browser.downloads / "clustered_images.csv"
        target.unlink(missing_ok=True)
        self.click("#download")
        deadline = time.monotonic() + 10
        while not (target.exists() and target.stat().st_size):  # Chromium makes it before it writes
            assert time.monotonic() < deadline, "nothing was downloaded"
            time.sleep(0.05)
        return target.read_bytes()


@pytest.fixture
def page(chromium, tmp_path):
    return Page(chromium, tmp_path / "clusters.html")


TRIO = (("a", "b"), ("c",), ("d", "e", "f"))


# What the page accepts


def test_equal_galleries_give_equal_text():
    assert render_gallery(gallery(TRIO)) == render_gallery(gallery(TRIO))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((("a", "b"), ("b",)), "exactly one group"),
        ((("a",), ()), "every group must have one"),
    ],
)
def test_a_photograph_in_two_groups_or_a_group_without_one_is_refused(members, message):
    with pytest.raises(ValueError, match=message):
        render_gallery(gallery(members))


def test_groups_out_of_the_order_of_the_rows_are_refused():
    shown = gallery((("a",), ("b",)))
    swapped = Gallery(**{**vars(shown), "photographs": shown.photographs[::-1]})
    with pytest.raises(ValueError, match="in the order in which the rows"):
        render_gallery(swapped)


def test_a_margin_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="margin"):
        render_gallery(gallery(TRIO, margins=(float("nan"),)))


def test_a_column_that_the_page_cannot_write_is_refused():
    with pytest.raises(ValueError, match="not image_id, diagnosis"):
        render_gallery(gallery(TRIO, columns=("image_id", "diagnosis")))


# The CSV


@pytest.mark.parametrize("columns", [COLUMNS, (*COLUMNS, "lesion_id")])
@pytest.mark.parametrize("members", [(), (("a",),), (("a", "b"),), (HOSTILE[:2], HOSTILE[2:3], HOSTILE[3:])])
def test_without_corrections_the_download_is_the_csv_of_the_pipeline(page, members, columns):
    shown = gallery(members, columns=columns)
    assert page.open(shown).download() == pipeline_csv(shown).encode()


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1), unique=True, max_size=30)
)
def test_any_image_id_is_written_as_pandas_writes_it(page, ids):
    shown = gallery([(image_id,) for image_id in ids])
    assert page.open(shown).csv() == pipeline_csv(shown)


def test_corrections_are_in_the_download(page):
    shown = gallery(TRIO, known=[("k", "L1")], lesions={2: "L1"}, columns=(*COLUMNS, "lesion_id"))
    page.open(shown).move("b", to="2")
    table = pd.read_csv(io.BytesIO(page.download()), dtype=str, keep_default_na=False)
    assert table.cluster_id.tolist() == ["0", "1", "2", "1", "1", "1"]
    assert table.lesion_id.tolist() == ["", "L1", "", "L1", "L1", "L1"]
    assert table.similarity_to_nearest.tolist() == [p.similarity for p in shown.photographs[:6]]


@pytest.mark.parametrize("seed", range(4))
def test_any_corrections_give_the_csv_of_tables_kept_by_hand(page, seed):
    choose = random.Random(seed)
    ids = [f"i{k}" for k in range(12)]
    shown = gallery([ids[:3], ids[3:4], ids[4:9], ids[9:]], lesions={2: "L"}, columns=(*COLUMNS, "lesion_id"))
    page.open(shown)
    group_of = {image_id: group.cluster_id for group in shown.groups for image_id in group.image_ids}
    lesion_of, fresh, written = {2: "L"}, len(shown.groups), [pipeline_csv(shown)]
    for _ in range(15):
        rows = sorted(choose.sample(range(12), choose.randint(1, 4)))
        numbers = sorted(set(group_of.values()))
        kind = choose.choice(["move", "split", "merge"] if len(numbers) > 1 else ["move", "split"])
        if kind == "move":
            target = choose.choice(numbers)
            page.run("go(movedTo(now(), arguments[0], arguments[1]))", rows, target)
            group_of |= {ids[row]: target for row in rows}
        elif kind == "split":
            page.run("go(splitOff(now(), arguments[0], ''))", rows)
            group_of |= {ids[row]: fresh for row in rows}
            fresh += 1
        else:
            joined = choose.sample(numbers, 2)
            page.run("go(merged(now(), arguments[0]))", joined)
            if any(lesion_of.get(number) for number in joined):
                lesion_of[min(joined)] = "L"
            group_of = {i: min(joined) if number in joined else number for i, number in group_of.items()}
        written.append(pipeline_csv(shown, group_of, lesion_of))
        assert page.csv() == written[-1]
    for expected in reversed(written[:-1]):
        page.click("#undo")
        assert page.csv() == expected


# Looking


def test_images_without_a_partner_come_last_in_every_order(page):
    members = (("a",), ("b", "c"), ("d", "e", "f"), ("g", "h"))
    page.open(gallery(members, margins=(0.0, 0.3, 0.2, float("inf")), checks=(3,)))
    orders = {"uncertain": [3, 2, 1, 0], "largest": [2, 1, 3, 0], "number": [1, 2, 3, 0]}
    for order, expected in orders.items():
        Select(page.find("#order")).select_by_value(order)
        assert page.numbers() == expected


def test_a_filter_shows_the_groups_that_it_names(page):
    page.open(gallery((("a",), ("b", "c"), ("d", "e"), ("f",)), checks=(1, 3)))
    for name, expected in {
        "check": [1, 3],
        "confident": [2, 0],
        "alone": [3, 0],
        "edited": [],
        "all": [1, 2, 3, 0],
    }.items():
        page.click(f"#filters [value={name}]")
        assert page.numbers() == expected
        assert page.find("#filters [aria-pressed=true]").get_attribute("value") == name


def test_search_finds_groups_by_part_of_an_image_id(page):
    page.open(gallery((("ISIC_1", "ISIC_2"), ("ISIC_31",), ("x", "isic_4"))))
    page.find("#search").send_keys("isic_3")
    assert page.numbers() == [1]
    assert page.texts(".found .tick") == ["ISIC_31"]
    page.find("#search").send_keys("9")
    assert page.texts(".none-found") == ["No group is like that."]


def test_fifty_groups_are_on_a_page(page):
    page.open(gallery([("alone",), *((f"a{k}", f"b{k}") for k in range(1, 121))]))
    assert page.numbers() == list(range(1, 51))
    page.click("[data-turn='1']")
    page.click("[data-turn='1']")
    assert page.numbers() == [*range(101, 121), 0]
    assert not page.find("[data-turn='1']").is_enabled()


def test_a_very_large_group_is_shown_in_part_until_asked_for(page):
    page.open(gallery([[f"i{k}" for k in range(100)]]))
    assert len(page.texts(".tile")) == 48
    page.click(".more")
    assert len(page.texts(".tile")) == 100
    page.find("#search").send_keys("i99")
    assert page.texts(".tile")[0].startswith("i99")


def test_counts_say_what_there_is_and_follow_corrections(page):
    shown = gallery(TRIO, checks=(2,), thumbnails={"a": DOT})
    page.open(Gallery(**{**vars(shown), "unreadable": (("x.png", "not a picture"),)}))
    assert [text[0] for text in page.texts("#counts li")] == ["6", "2", "1", "1", "1", "5"]
    page.move("c", to="2")
    assert [text[0] for text in page.texts("#counts li")] == ["6", "2", "0", "0", "1", "5"]
    assert page.texts("details li") == ["x.png: not a picture"]


def test_a_group_says_whether_and_why_it_should_be_checked(page):
    page.open(gallery((("a", "b"), ("c", "d")), checks=(0,), margins=(0.0123, float("inf"))))
    assert page.texts("[data-group='0'] .badge") == ["check this"]
    assert page.texts("[data-group='0'] .state") == ["check this2 images, margin 0.012"]
    assert page.texts("[data-group='0'] .reasons li") == ["Its weakest link is hardly above the cut."]
    assert page.texts("[data-group='1'] .state") == ["confident2 images"]


def test_a_group_names_the_probabilities_of_its_links_where_they_are_known(page):
    page.open(gallery((("a", "b"), ("c",)), links=(0.98, 0.002)))
    assert page.texts("[data-group='0'] .state") == ["confident2 images, inside 98 %, outside below 1 %"]
    assert "margin" not in page.texts(".key")[0]


def test_a_photograph_names_its_nearest_and_points_it_out(page):
    page.open(gallery(TRIO))
    assert page.texts("[data-row='0'] .nearest") == ["nearest: → b0.9000"]
    assert page.texts("[data-row='2'] .nearest") == ["nearest: → d0.9000, group 2"]
    ActionChains(page.browser).move_to_element(page.find("[data-row='0'] img")).perform()
    assert page.texts(".near .tick") == ["b"]
    page.run("document.querySelector('[data-row=\"3\"] .photo').focus()")
    assert page.texts(".near .tick") == ["e"]


def test_a_click_enlarges_a_photograph_beside_its_nearest(page):
    page.open(gallery(TRIO))
    page.click("[data-row='0'] .photo")
    assert page.texts("#pair figure") == ["agroup 0", "bnearest, group 0"]
    page.find("#next").send_keys(Keys.ARROW_RIGHT)
    assert page.texts("#pair figure") == ["bgroup 0", "anearest, group 0"]
    page.click("#pair input")
    page.find("#close").send_keys(Keys.ESCAPE)
    assert not page.find("#larger").is_displayed()
    assert page.find("#ticked").text == "1 photograph ticked"
    assert page.find("[data-row='1'] input").is_selected()


def test_a_known_and_a_new_photograph_of_one_id_are_kept_apart(page):
    shown = gallery((("a", "b"),), known=[("a", "L1")], lesions={0: "L1"}, thumbnails={"a": DOT + "A", "known:a": DOT})
    page.open(shown)
    assert page.texts("figcaption .id[title=a]") == [
        "a",
        "a",
        "a",
    ]  # the new one, its name as b's nearest, the known one
    assert [image.get_attribute("src") for image in page.browser.find_elements(By.TAG_NAME, "img")] == [DOT + "A", DOT]
    assert page.run("return photographs[1].nearestRow") == 0
    assert pd.read_csv(io.BytesIO(page.download()), dtype=str).image_id.tolist() == ["a", "b"]


@pytest.mark.parametrize(("lesion", "row"), [("L1", 2), ("", 0)])
def test_of_two_photographs_of_one_id_the_one_in_the_group_is_the_nearest(lesion, row):
    shown = gallery((("a",), ("b",)), known=[("a", "L1")], lesions={1: lesion})
    data = render_gallery(shown).split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["photographs"][1]["nearestRow"] == row


# Correcting


def test_ticked_photographs_move_to_a_group_by_number_or_image_id(page):
    page.open(gallery(TRIO)).move("a", "c", to="2")
    assert page.groups() == {2: ["a", "c", "d", "e", "f"], 0: ["b"]}
    assert page.said() == "1 change, last: 2 photographs moved to group 2."
    assert page.texts(".badge") == ["edited", "edited"]
    page.move("d", to="b")
    assert page.groups() == {2: ["a", "c", "e", "f"], 0: ["b", "d"]}


def test_ticked_photographs_move_to_the_group_whose_button_is_pressed(page):
    page.open(gallery(TRIO)).tick("c", "d")
    page.click("[data-here='0']")
    assert page.groups() == {0: ["a", "b", "c", "d"], 2: ["e", "f"]}
    assert page.run("return document.activeElement.dataset.group") == "0"


def test_a_photograph_can_move_to_a_known_lesion_that_no_group_belongs_to(page):
    page.open(gallery(TRIO, known=[("k", "L1")])).move("c", to="lesion L1")
    assert page.texts("[data-group='3'] .state") == ["edited1 image, 1 knownknown lesion L1"]
    assert page.texts("[data-group='3'] .tile .id:first-child, [data-group='3'] .known .id") == ["k"]


def test_a_target_that_does_not_exist_is_refused(page):
    page.open(gallery(TRIO)).move("a", to="17")
    assert page.find("#refusal").text == "No group, photograph or known lesion is called “17”."
    assert page.find("#undo").is_enabled() is False


def test_the_target_field_suggests_groups_and_lesions(page):
    page.open(gallery(TRIO, known=[("k", "eczema")])).tick("a")
    page.find("#target").send_keys("e")
    options = page.browser.find_elements(By.CSS_SELECTOR, "#targets option")
    assert [option.get_attribute("value") for option in options] == ["2", "lesion eczema"]


def test_ticked_photographs_become_a_new_group_next_to_their_old_one(page):
    page.open(gallery((("a", "b"), ("c", "d", "e", "f"), ("g", "h")), margins=(0.1,) * 3)).tick("e", "f")
    page.click("#split")
    assert page.groups() == {0: ["a", "b"], 1: ["c", "d"], 3: ["e", "f"], 2: ["g", "h"]}
    assert page.numbers() == [0, 1, 3, 2]


def test_a_whole_group_does_not_become_a_new_one(page):
    page.open(gallery(TRIO)).tick("a", "b")
    page.click("#split")
    assert page.find("#refusal").text == "These photographs are a group of their own already."


def test_ticked_groups_merge_and_keep_the_known_lesion(page):
    page.open(gallery(TRIO, known=[("k", "L1")], lesions={2: "L1"})).tick_groups(0, 2)
    page.click("#merge")
    assert page.groups() == {0: ["a", "b", "d", "e", "f"], 1: ["c"]}
    assert page.texts("[data-group='0'] .state") == ["edited5 images, 1 knownknown lesion L1"]


def test_groups_of_different_known_lesions_do_not_merge(page):
    page.open(gallery(TRIO, known=[("k", "L1"), ("l", "L2")], lesions={0: "L1", 2: "L2"})).tick_groups(0, 2)
    page.click("#merge")
    assert page.find("#refusal").text == "Groups 0 and 2 belong to different known lesions, L1 and L2: they stay apart."
    assert page.groups() == {0: ["a", "b"], 1: ["c"], 2: ["d", "e", "f"]}


def test_every_step_can_be_undone_and_so_can_starting_over(page):
    shown = gallery(TRIO)
    page.open(shown).move("a", to="2")
    page.move("b", to="1")
    corrected = page.csv()
    page.click("#restart")
    assert page.csv() == pipeline_csv(shown)
    page.click("#undo")
    assert page.csv() == corrected
    page.click("#undo")
    page.click("#undo")
    assert page.csv() == pipeline_csv(shown)
    assert page.texts(".badge.accent") == []


def test_moving_a_photograph_back_leaves_no_edited_group(page):
    page.open(gallery(TRIO)).move("d", to="0")
    page.move("d", to="2")
    assert page.texts(".badge.accent") == []


def test_show_group_leads_to_a_group_on_another_page(page):
    page.open(gallery([(f"a{k}", f"b{k}") for k in range(60)])).move("a0", to="57")
    page.click("#show")
    assert page.run("return document.activeElement.dataset.group") == "57"
    assert page.texts("[data-group='57'] .tick") == ["a0", "a57", "b57"]


def test_leaving_with_corrections_that_were_not_downloaded_asks_first(page):
    leaving = "const event = new Event('beforeunload', {cancelable: true}); return !dispatchEvent(event);"
    page.open(gallery(TRIO))
    assert page.run(leaving) is False
    page.move("a", to="2")
    assert page.run(leaving) is True
    page.download()
    assert page.run(leaving) is False
    assert page.said().endswith("Downloaded.")


# Matched points


def with_links(shown):
    links = {0: (Link(("a", "b"), 40, DOT), Link(("b", "k"), 5, None)), 2: (Link(("d", "f"), 4, None),)}
    return dataclasses.replace(shown, links=links)


def test_links_of_a_group_are_shown_larger_and_the_keyboard_comes_back(page):
    page.open(with_links(gallery(TRIO)))
    button = page.find("[data-group='0'] [data-links]")
    assert button.text == "Show matched points (40, 5)"
    button.send_keys(Keys.ENTER)
    assert page.find("#matches h2").text == "Group 0: matched points"
    assert page.texts("#matches figcaption") == ["a \N{EN DASH} b40 matched points, 16 drawn"]
    assert page.find("#matches img").get_attribute("alt") == (
        "Photographs a and b side by side; lines join 16 of the 40 points on which they agree"
    )
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.find("#matches").is_displayed()
    assert page.browser.switch_to.active_element == button


def test_links_without_a_drawing_are_counted(page):
    page.open(with_links(gallery(TRIO)))
    assert page.texts(".links") == ["Show matched points (40, 5)", "matched points: 4; not drawn"]
    assert "2links not drawn" in page.texts("#counts li")


def test_an_edited_group_shows_no_links(page):
    page.open(with_links(gallery(TRIO)))
    page.move("a", to="1")
    assert page.texts(".links") == ["matched points: 4; not drawn"]


def test_a_gallery_without_links_says_nothing_of_points():
    assert "matched" not in render_gallery(gallery(TRIO))


# Safety and size


def test_the_page_requests_nothing_and_logs_no_error(page):
    page.open(gallery(TRIO, known=[("k", "L1")], lesions={0: "L1"})).move("a", to="2")
    page.click(".photo")
    page.click("#close")
    page.download()
    messages = [json.loads(entry["message"])["message"] for entry in page.browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert page.path.as_uri() in sent
    assert {address.split(":")[0] for address in sent} <= {"file", "data", "blob"}
    assert page.browser.get_log("browser") == []


def test_hostile_names_stay_text(page):
    shown = gallery((HOSTILE[:3], HOSTILE[3:]), known=[("<i>", "<u>")], lesions={1: "<u>"})
    page.open(Gallery(**{**vars(shown), "unreadable": (("<s>x", "<s>y"),), "settings": {"<s>": "<s>"}}))
    assert page.texts(".tick .id") == list(HOSTILE)
    page.move(HOSTILE[5], to=HOSTILE[0])
    page.click(".photo")
    assert page.browser.find_elements(By.CSS_SELECTOR, "b:not(#counts b), i, u, s") == []
    assert page.browser.title.endswith("Skinbit")
    table = pd.read_csv(io.StringIO(page.csv()), dtype=str, keep_default_na=False)
    assert table.image_id.tolist() == list(HOSTILE)


@given(data=st.data())
def test_no_text_becomes_markup_whatever_it_is(hostile, assert_is_safe, data):
    def shown(name):
        members = ((name(0), name(1)), (name(2),))
        made = gallery(members, known=[(name(3), name(4))], lesions={1: name(4)}, checks=(0,))
        groups = tuple(dataclasses.replace(group, reasons=(name(5),)) for group in made.groups)
        texts = {"title": name(6), "settings": {name(7): name(8)}, "unreadable": ((name(9), name(10)),)}
        links = {0: (Link((name(0), name(1)), 3, DOT),)}
        return render_gallery(dataclasses.replace(made, groups=groups, links=links, **texts))

    drawn = [f"{data.draw(hostile)}{number}" for number in range(11)]
    assert_is_safe(shown(drawn.__getitem__), shown("plain{}".format))


def test_what_is_smuggled_into_a_page_neither_runs_nor_loads_anything(page, chromium):
    text = render_gallery(gallery(TRIO))
    smuggled = (
        "<script>document.title='owned'</script><script src='https://example.org/x.js'></script>"
        "<img src='https://example.org/x.png' onerror=\"document.title='owned'\"><iframe src='https://example.org'></iframe>"
        "<style>body{background:url(https://example.org/y.png)}</style><form action='https://example.org'></form>"
    )
    page.open(gallery(TRIO))
    page.path.write_text(text.replace("<main", f"{smuggled}<main", 1) if "<main" in text else text + smuggled)
    chromium.get_log("performance")
    chromium.get(page.path.as_uri())
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    answered = [m["params"]["response"]["url"] for m in messages if m["method"] == "Network.responseReceived"]
    assert [url for url in answered if not url.startswith(("file:", "data:"))] == []
    assert "owned" not in chromium.title
    assert "Content Security Policy" in str(chromium.get_log("browser"))


@pytest.mark.parametrize(("n_images", "text"), [(0, "There are no photographs."), (1, "no other image"), (2, "0.9000")])
def test_the_page_works_for_very_few_images(page, n_images, text):
    page.open(gallery([("a", "b")[:n_images]] if n_images else ()))
    assert text in page.find("#groups").text
    assert page.browser.get_log("browser") == []


def test_nothing_sticks_out_of_a_phone(page):
    page.open(gallery((("x" * 120, "b"), ("c",))))
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        page.tick("b")
        assert page.run("return document.documentElement.scrollWidth") == 400
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_of_ten_thousand_photographs_only_one_page_is_built(page):
    page.open(gallery([(f"a{k}", f"b{k}") for k in range(4000)] + [(f"c{k}",) for k in range(2000)]))
    assert len(page.texts(".tile")) == 100
    page.run("turn(1)")
    assert len(page.texts(".tile")) == 100
