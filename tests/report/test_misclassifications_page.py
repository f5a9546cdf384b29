"""The page of misclassified pairs, in a real browser."""

import base64
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from skinbit.config import ReportParams
from skinbit.errors import InputError
from skinbit.report.mistakes import render_mistakes

HOSTILE = ("""<b>"x'.jpg""", "</script><script>document.title='broken'</script>", "__proto__", "constructor", "a" * 200)


def thumbnail(number):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (number % 256, number // 256, 99)).save(buffer, format="JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def mistake(number, error, similarity, image_b="shared"):
    same = error == "false_negative"
    lesions = {"lesion_a": f"lesion{number}", "lesion_b": f"lesion{number if same else 'other'}"}
    return {"image_a": f"image{number:04d}", "image_b": image_b, **lesions, "similarity": similarity, "error": error}


def document(pairs, method="cosine", **fields):
    """Of a threshold of 0.7, or an eps of 0.3; the median positive pair is at 0.9."""
    listed = [pair["error"] for pair in pairs]
    wrong = {error: listed.count(error) for error in ("false_positive", "false_negative")}
    counts = {
        **{"n_images": 90, "n_lesions": 40, "n_pairs": 4005, "n_positive_pairs": 60, "true_positive": 50},
        **{"possible_label_error": 0, **wrong, **{f"listed_{error}": n for error, n in wrong.items()}},
    }
    cut = {"threshold": 0.7} if method == "cosine" else {"eps": 0.3}
    shared = {"experiment": "vit_triplet", "method": method, "possible_label_error_from": 0.9, "pairs": pairs}
    return {**shared, **cut, "counts": counts, **fields}


def thumbnails_of(pairs):
    image_ids = sorted({pair[side] for pair in pairs for side in ("image_a", "image_b")})
    return {image_id: thumbnail(number) for number, image_id in enumerate(image_ids)}


def render(document, matches=None, **params):
    return render_mistakes(document, thumbnails_of(document["pairs"]), ReportParams(**params), matches)


SIXTY = [
    *(mistake(n, "false_positive", 0.95 - n / 1000) for n in range(50)),
    *(mistake(n, "false_positive", 0.80 - n / 1000) for n in range(50, 53)),
    *(mistake(n, "false_negative", 0.70 - n / 1000) for n in range(53, 60)),
]
"""50 false positives above the median positive pair, 3 below it, 7 false negatives."""


@pytest.fixture
def open_page(chromium, tmp_path):
    """Open a document's page from disk."""
    chromium.set_window_size(1200, 900)
    chromium.get_log("browser")
    chromium.get_log("performance")

    def opened(content, matches=None, **params):
        path = tmp_path / "misclassifications_cosine.html"
        path.write_text(render(content, matches, **params), encoding="utf-8")
        chromium.get(path.as_uri())
        return chromium

    yield opened
    assert not [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]


def found(page, selector):
    return page.find_elements(By.CSS_SELECTOR, selector)


def text(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector).text


def ranks(page):
    return [int(element.text.removeprefix("#")) for element in found(page, ".rank")]


def choose(page, value):
    page.find_element(By.CSS_SELECTOR, f"#filters [value={value}]").click()


class TestPairs:
    def test_a_pair_shows_both_photographs_ids_lesions_and_where_it_lies(self, open_page):
        page = open_page(document([mistake(1, "false_positive", 0.75)]))
        assert page.title == "vit_triplet, misclassified pairs · Skinbit"
        (card,) = found(page, ".pair")
        for words in ("image0001", "shared", "lesion lesion1", "lesion lesionother", "false positive"):
            assert words in card.text
        assert "similarity 0.7500 · 0.0500 above the threshold" in card.text
        assert [image.get_attribute("alt") for image in found(page, ".pair img")] == [
            "photograph image0001",
            "photograph shared",
        ]
        assert page.execute_script("return [...document.images].every(image => image.naturalWidth === 40)")

    def test_a_false_negative_lies_below_the_threshold_on_the_scale(self, open_page):
        page = open_page(document([mistake(1, "false_negative", 0.4)]))
        left = [page.find_element(By.CSS_SELECTOR, f".pair .{mark}").rect["x"] for mark in ("dot", "cut", "median")]
        assert left == sorted(left)
        assert "0.3000 below the threshold" in text(page, ".pair")

    def test_badges_say_what_is_possibly_mislabelled_and_what_others_joined(self, open_page):
        similarities = (0.95, 0.9, 0.8, 0.4)
        page = open_page(document([mistake(n, "false_positive", s) for n, s in enumerate(similarities)], "dbscan"))
        badges = [
            [badge.text for badge in card.find_elements(By.CSS_SELECTOR, ".badge")] for card in found(page, ".pair")
        ]
        suspect, joined = "possible label error", "joined through other images"
        assert [set(names) - {"false positive"} for names in badges] == [{suspect}, {suspect}, set(), {joined}]

    def test_counts_stand_at_the_top(self, open_page):
        counts = text(open_page(document(SIXTY)), ".counts").replace("\n", " ")
        f1 = 2 * 50 / (2 * 50 + 60)
        for words in (f"{f1:.3f} pairwise F1", "50 of 60", "53 false positives", "7 false negatives", "4,005 pairs"):
            assert words in counts


class TestFilters:
    def test_show_their_counts_and_only_their_pairs_worst_first(self, open_page):
        page = open_page(document(SIXTY))
        labels = [button.text for button in found(page, "#filters button")]
        assert labels == ["All 60", "False positives 53", "False negatives 7", "Possible label errors 50"]
        choose(page, "false_negative")
        assert ranks(page) == list(range(54, 61))
        assert {badge.text for badge in found(page, ".pair .badge")} == {"false negative"}
        choose(page, "label_error")
        assert text(page, ".said") == "1\N{EN DASH}25 of 50"
        choose(page, "all")
        assert ranks(page) == list(range(1, 26))

    def test_a_filter_without_pairs_cannot_be_chosen(self, open_page):
        page = open_page(document([mistake(1, "false_negative", 0.4)]))
        enabled = [button.get_attribute("value") for button in found(page, "#filters button") if button.is_enabled()]
        assert enabled == ["all", "false_negative"]


class TestPages:
    def test_turn_by_button_and_end_at_both_ends(self, open_page):
        page = open_page(document(SIXTY))
        previous, following = found(page, ".toolbar .previous, .toolbar .next")
        assert not previous.is_enabled()
        following.click()
        following.click()
        assert ranks(page) == list(range(51, 61))
        assert not following.is_enabled()
        assert {said.text for said in found(page, ".said")} == {"51\N{EN DASH}60 of 60"}

    def test_turn_by_arrow_keys(self, open_page):
        page = open_page(document(SIXTY))
        pairs = page.find_element(By.ID, "pairs")
        page.execute_script("arguments[0].focus()", pairs)
        assert page.switch_to.active_element == pairs
        pairs.send_keys(Keys.ARROW_RIGHT)
        assert ranks(page)[0] == 26
        pairs.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
        assert ranks(page)[0] == 26
        pairs.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
        assert ranks(page)[0] == 1

    def test_a_filter_starts_at_its_first_page(self, open_page):
        page = open_page(document(SIXTY))
        page.find_element(By.CSS_SELECTOR, ".next").click()
        choose(page, "false_positive")
        assert ranks(page)[0] == 1

    def test_photographs_of_other_pages_are_not_built(self, open_page):
        assert len(found(open_page(document(SIXTY)), "img")) == 50


class TestLimits:
    def test_what_is_not_listed_is_counted(self, open_page):
        content = document(SIXTY)
        content["counts"]["false_positive"] = 10_053
        page = open_page(content)
        assert "Of 10,053 false positives the worst 53 are listed, 10,000 left out" in text(page, ".notes")

    def test_photographs_that_do_not_fit_leave_an_empty_place_and_are_counted(self, open_page):
        room = 3 * len(thumbnail(0)) / 1e6
        page = open_page(document(SIXTY[:4]), max_megabytes=room)
        assert "Of 5 photographs 2 left out" in text(page, ".notes")
        assert len(found(page, ".pair img")) == 2 + 4, "the shared one is in every pair"
        assert [place.text for place in found(page, ".pair .none")] == ["photograph left out"] * 2

    def test_nothing_is_noted_where_nothing_is_left_out(self, open_page):
        assert not found(open_page(document(SIXTY)), ".notes")

    def test_a_photograph_is_in_the_page_once_however_many_pairs_it_is_in(self):
        assert render(document(SIXTY)).count(thumbnails_of(SIXTY)["shared"]) == 1

    def test_a_missing_thumbnail_names_the_image_and_the_remedy(self):
        with pytest.raises(InputError, match=r"2 images .* the first is image0000\.\n.*final_model"):
            render_mistakes(document(SIXTY[:1]), {}, ReportParams())


DRAWN = [mistake(n, "false_positive", 0.9 - n / 100) for n in range(5)]


def match(number, inliers, drawing=None):
    """Of the pair of :func:`mistake`."""
    return {"image_a": f"image{number:04d}", "image_b": "shared", "inliers": inliers, "drawing": drawing}


MATCHES = [match(0, 62, thumbnail(300)), match(1, 9, thumbnail(301)), match(2, 4), match(3, 0)]
"""Of the five pairs two are drawn, one has points, one has none, one was not compared."""


class TestMatchedPoints:
    def test_every_pair_says_on_how_many_points_it_agrees(self, open_page):
        page = open_page(document(DRAWN), MATCHES)
        assert [line.text for line in found(page, ".pair .points")] == [
            "Show matched points (62)",
            "Show matched points (9)",
            "4 matched points, not drawn",
            "0 matched points",
            "keypoints not compared",
        ]

    def test_the_keyboard_puts_the_drawing_in_the_place_of_the_photographs_and_back(self, open_page):
        page = open_page(document(DRAWN), MATCHES)
        button, _ = found(page, "button.matches")
        button.send_keys(Keys.ENTER)
        assert button.text == "Hide matched points (62)"
        assert page.switch_to.active_element == button
        shown = [image for image in found(page, ".pair:first-child img") if image.is_displayed()]
        assert [image.get_attribute("src") for image in shown] == [MATCHES[0]["drawing"]]
        assert "photographs image0000 and shared" in shown[0].get_attribute("alt")
        assert "lines join 16 of the 62 points on which they agree" in shown[0].get_attribute("alt")
        button.send_keys(Keys.SPACE)
        assert button.text == "Show matched points (62)"
        assert [image.is_displayed() for image in found(page, ".pair:first-child img")] == [True, True]

    def test_an_opened_pair_stays_open_while_filters_change(self, open_page):
        page = open_page(document([*DRAWN, mistake(9, "false_negative", 0.1)]), MATCHES)
        found(page, "button.matches")[1].click()
        choose(page, "false_negative")
        assert not found(page, ".drawing")
        choose(page, "false_positive")
        assert [image.get_attribute("src") for image in found(page, ".drawing")] == [MATCHES[1]["drawing"]]

    def test_what_is_not_drawn_is_counted(self, open_page):
        page = open_page(document(DRAWN), MATCHES)
        assert "Of 3 pairs with matched points 1 not drawn" in text(page, ".notes")

    def test_drawings_get_the_room_that_photographs_leave_the_worst_pair_first(self, open_page):
        needed = sum(map(len, thumbnails_of(DRAWN).values())) + len(MATCHES[0]["drawing"])
        page = open_page(document(DRAWN), MATCHES, max_megabytes=needed / 1e6)
        assert "Of 2 drawings of matched points 1 left out" in text(page, ".notes")
        assert [button.text for button in found(page, "button.matches")] == ["Show matched points (62)"]
        assert len(found(page, ".pair img")) == 2 * len(DRAWN)

    def test_pairs_are_found_whichever_image_is_named_first(self, open_page):
        swapped = {**MATCHES[0], "image_a": "shared", "image_b": "image0000"}
        assert text(open_page(document(DRAWN[:1]), [swapped]), ".points") == "Show matched points (62)"

    def test_other_experiments_say_nothing_of_points(self):
        assert "matched" not in render(document(DRAWN))


class TestNothingToShow:
    def test_without_mistakes_it_says_so_and_shows_counts(self, open_page):
        page = open_page(document([]))
        assert "Every pair of the test subset is right." in text(page, "body")
        assert "4,005 pairs in all" in text(page, ".counts").replace("\n", " ")
        assert not found(page, "#pairs, .toolbar")

    @pytest.mark.parametrize(
        ("threshold", "reason"), [(None, "no fold had a positive pair"), (0.7, "none of its lesions has two images")]
    )
    def test_without_figures_it_says_why(self, open_page, threshold, reason):
        undefined = dict.fromkeys(("true_positive", "false_positive", "false_negative", "possible_label_error"))
        content = document([], threshold=threshold, possible_label_error_from=None)
        page = open_page(content | {"counts": content["counts"] | undefined})
        assert reason in text(page, "p.card")
        assert not found(page, ".counts, #pairs")

    def test_a_median_below_the_cut_is_pointed_out(self, open_page):
        content = document([mistake(1, "false_positive", 0.75)], possible_label_error_from=0.5)
        content["counts"]["possible_label_error"] = 1
        assert "means little here" in text(open_page(content), ".notes")


class TestSafety:
    @given(data=st.data())
    def test_no_text_becomes_markup_whatever_it_is(self, hostile, assert_is_safe, data):
        def shown(name):
            pair = {"image_a": name(0), "image_b": name(1), "lesion_a": name(2), "lesion_b": name(3)}
            pairs = [pair | {"similarity": 0.8, "error": "false_positive"}]
            matches = [{"image_a": name(0), "image_b": name(1), "inliers": 3, "drawing": thumbnail(1)}]
            return render(document(pairs, experiment=name(4)), matches)

        drawn = [f"{data.draw(hostile)}{number}" for number in range(5)]
        assert_is_safe(shown(drawn.__getitem__), shown("plain{}".format))

    def test_ids_are_shown_as_they_are_and_never_become_markup(self, open_page):
        pairs = [mistake(n, "false_positive", 0.8 - n / 100, image_b) for n, image_b in enumerate(HOSTILE)]
        for pair, lesion in zip(pairs, HOSTILE, strict=True):
            pair["lesion_a"] = lesion
        page = open_page(document(pairs, experiment="<i>vit</i>"))
        shown = [element.get_property("textContent") for element in found(page, "figcaption .id")]
        for hostile in HOSTILE:
            assert shown.count(hostile) == 2
        assert not found(page, "figcaption b, h1 i, li script")
        assert "<i>vit</i>" in page.title
        assert len(found(page, ".pair img")) == 2 * len(HOSTILE)

    @pytest.mark.parametrize("width", [1200, 400])
    def test_long_ids_do_not_widen_the_page(self, open_page, width):
        page = open_page(document([mistake(1, "false_positive", 0.8, HOSTILE[-1])]))
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)  # a window is at least 500 pixels wide
        assert page.execute_script("return innerWidth") == width
        assert page.execute_script(
            "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def test_no_request_leaves_the_page(self, open_page):
        page = open_page(document(SIXTY))
        choose(page, "false_positive")
        page.find_element(By.CSS_SELECTOR, ".next").click()
        events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        assert [url for url in urls if not url.startswith("data:")] == [page.current_url]

    def test_it_links_only_to_its_neighbours_and_is_the_same_every_time(self):
        page = render(document(SIXTY))
        assert page == render(document(SIXTY))
        assert 'href="../report.html"' in page
        assert 'href="misclassifications_dbscan.html"' in page
        assert "://" not in page
