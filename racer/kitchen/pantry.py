"""The words that fill the slots of the grammars."""

from racer.kitchen.dice import Dice


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "Ada Amir Anna Aya Bela Boris Carla Chen Dana David Elif Emil Esther Farid Fatima Felix Gita Goran Hana Henri "
    "Ida Igor Ines Ivan Jana Jamal Joana Jonas Kaito Karin Kofi Lars Laila Leon Lin Luca Maria Marek Mei Mona "
    "Nadia Nils Nora Olga Omar Oscar Pablo Petra Priya Quentin Rafael Rosa Samir Sara Sofia Tariq Tessa Theo "
    "Uma Victor Wanda Wei Yara Yusuf Zoe")

GOODS = _words(
    "lemons apples plums figs onions carrots leeks radishes eggs muffins pretzels bagels rolls pies tarts pancakes "
    "dumplings olives peaches pears melons mangoes walnuts chestnuts mushrooms peppers tomatoes potatoes turnips "
    "cucumbers spoons forks plates bowls jars bottles napkins candles cookies scones")

DISHES = _words(
    "stew cake loaf roast pie soup casserole pudding gratin lasagne quiche curry goulash tart brisket crumble risotto "
    "strudel focaccia ham turkey pizza souffle paella chowder")

WORDS = _words(
    "almond anchovy apron artichoke asparagus avocado bacon banana barley basil basket biscuit blender bottle bread "
    "broccoli butter cabbage candle caramel carrot cashew cauldron celery cheese cherry chestnut chicken chocolate "
    "cinnamon clove coconut coffee colander copper coriander cucumber cupboard curry cutlery dumpling eggplant fennel "
    "freezer garlic ginger grater griddle hazelnut honey kettle kitchen ladle lemon lentil lettuce marmalade melon "
    "mushroom mustard napkin noodle nutmeg oatmeal olive onion oregano oven paprika parsley pastry peanut pepper "
    "pickle pistachio pitcher platter popcorn potato pumpkin radish raisin recipe rosemary saffron salad saucepan "
    "sausage scallion sesame skillet spatula spinach spoon strawberry sugar teapot thermometer thyme toaster tomato "
    "turmeric vanilla vinegar waffle walnut whisk yogurt zucchini")

SYLLABLES = _words(
    "ba be bo da de di do fa fe fi ga go gu ja jo ka ke ki ko la le li lo lu ma me mi mo mu na ne ni no nu pa pe pi "
    "po ra re ri ro ru sa se si so su ta te ti to tu va ve vi vo wa ze zi zo zu")

APPLIANCES = _words(
    "oven lamp kettle fan radio toaster freezer mixer grill heater blender fryer dishwasher fridge steamer smoker "
    "juicer boiler stove clock")

GROUPS = _words(  # each forms its plural with s and takes the article "a"
    "baker climber dancer farmer gardener hiker juggler painter sailor singer teacher weaver runner potter miller "
    "brewer butcher carpenter drummer fencer hunter knitter lawyer musician plumber poet rower skater tailor "
    "violinist")

_ASIDES = (
    "The kitchen has {} windows, and {} of them are open.",
    "Yesterday {} guests came, {} of them late.",
    "On the wall hangs a calendar with {} pictures and {} notes.",
    "The shop next door has been open for {} years and has {} chairs.",
    "A cousin of the cook is {} years old and lives {} streets away.",
    "The radio plays {} songs and reads the news {} times.",
)


def aside(dice: Dice) -> str:
    """Return a sentence with two numbers that have nothing to do with the question."""
    return dice.pick(_ASIDES).format(dice.between(11, 60), dice.between(2, 10))
