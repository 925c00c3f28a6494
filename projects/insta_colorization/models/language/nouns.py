"""What captions call things: COCO's classes, garments, and what no detector has a box for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from insta_colorization.structures import COCO_CLASSES

Band = tuple[float, float]


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


@dataclass(frozen=True)
class Thing:
    """What a noun stands for.

    Attributes:
        classes: the detector's classes that it may be; () for what has no box.
        alike: classes that detectors take it for; what else is named in the text is none of these.
        part: of a garment the part of its person that it covers, a key of `PARTS`.
        band: of what surrounds the objects, such as the sky: from where to where, as shares of the photo's height.
    """

    classes: tuple[str, ...] = ()
    part: str | None = None
    band: Band | None = None
    alike: tuple[str, ...] = ()


# Where on a person something is, from top to bottom as shares of the box: of one who stands, of one who sits or
# crouches, and of one whom the photo's edge cuts off below the chest; None where that shows nothing of it.
PARTS: dict[str, tuple[Band, Band, Band | None]] = {
    'hair': ((0.0, 0.1), (0.0, 0.16), (0.0, 0.25)),
    'hat': ((0.0, 0.1), (0.0, 0.16), (0.0, 0.2)),
    'torso': ((0.16, 0.52), (0.24, 0.62), (0.4, 1.0)),
    'legs': ((0.5, 0.93), (0.58, 0.93), None),
    'feet': ((0.92, 1.0), (0.9, 1.0), None),
    'outfit': ((0.16, 0.93), (0.24, 0.93), (0.4, 1.0)),
}

_SYNONYMS = {
    'person': 'man,woman,boy,girl,child,kid,baby,toddler,lady,guy,male,female,player,batter,pitcher,catcher,umpire,'
    'rider,skier,snowboarder,surfer,skateboarder,cyclist,bicyclist,biker,motorcyclist,driver,pedestrian,worker,officer,'
    'policeman,fireman,soldier,someone,somebody,teenager,teen,adult,bride,groom,chef,student,friend,couple,crowd,dancer,'
    'swimmer,runner,climber,jumper,athlete,fisherman,human,gentleman,shopper',
    'bicycle': 'bike,cycle',
    'car': 'automobile,taxi,cab,taxi cab,sedan,vehicle,van,minivan,suv,jeep,convertible,police car,race car',
    'motorcycle': 'motorbike,motor bike,scooter,moped,motor scooter',
    'airplane': 'aeroplane,plane,jet,jetliner,airliner,aircraft,jet plane',
    'bus': 'double decker,coach,school bus,tour bus,double decker bus,minibus,trolley bus',
    'train': 'locomotive,tram,train car,subway,subway train,trolley,streetcar,train engine',
    'truck': 'pickup,pickup truck,lorry,fire truck,firetruck,fire engine,dump truck,semi,tow truck,food truck',
    'boat': 'ship,canoe,kayak,raft,sailboat,ferry,yacht,rowboat,speedboat,gondola',
    'traffic light': 'stoplight,stop light,traffic signal,street light',
    'fire hydrant': 'hydrant',
    'bench': 'park bench',
    'bird': 'duck,goose,seagull,gull,pigeon,parrot,swan,owl,eagle,chicken,rooster,hen,peacock,flamingo,pelican,penguin',
    'cat': 'kitten,kitty',
    'dog': 'puppy,poodle,labrador,terrier,bulldog,hound,retriever,dachshund,collie,greyhound,pup',
    'horse': 'pony,foal,colt,mare,stallion,donkey',
    'sheep': 'lamb,ram,ewe',
    'cow': 'bull,calf,cattle,ox,steer',
    'backpack': 'rucksack,back pack,knapsack',
    'umbrella': 'parasol',
    'handbag': 'purse,bag,tote,shopping bag',
    'tie': 'necktie,bow tie,bowtie',
    'suitcase': 'luggage,baggage',
    'frisbee': 'disc,disk',
    'skis': 'ski',
    'sports ball': 'ball,soccer ball,tennis ball,football,basketball,baseball,volleyball,beach ball',
    'kite': 'parachute,parasail',
    'baseball bat': 'bat',
    'baseball glove': 'mitt,baseball mitt,glove',
    'surfboard': 'surf board,board,paddle board,boogie board',
    'tennis racket': 'racket,racquet,tennis racquet',
    'cup': 'mug,coffee cup,tea cup,teacup,glass',
    'wine glass': 'goblet',
    'bowl': 'bucket,dish',
    'orange': 'tangerine,mandarin',
    'donut': 'doughnut,pastry',
    'cake': 'cupcake,birthday cake',
    'hot dog': 'hotdog,sausage',
    'chair': 'armchair,stool,recliner,rocking chair,lawn chair',
    'couch': 'sofa,loveseat,futon',
    'potted plant': 'plant,houseplant',
    'bed': 'bedspread,comforter,blanket,quilt,duvet,bed sheet,bunk bed,sheet',
    'dining table': 'table,desk,tablecloth,picnic table,table cloth,coffee table',
    'tv': 'television,monitor,tv screen,computer monitor,computer screen,tv set',
    'laptop': 'laptop computer,notebook computer',
    'remote': 'remote control,controller,game controller',
    'cell phone': 'phone,cellphone,smartphone,mobile phone,telephone',
    'oven': 'stove,range',
    'refrigerator': 'fridge,freezer',
    'teddy bear': 'teddy,stuffed bear,stuffed animal,toy bear,plush bear',
    'hair drier': 'hair dryer,blow dryer',
}
# Large things of one shape, which detectors in grey photos take for each other.
_ALIKE = {'train': ('bus',), 'bus': ('train',), 'kite': ('umbrella',), 'umbrella': ('kite',)}
# Nouns that stand for several classes.
_KINDS = {
    'animal': 'bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe',
    'fruit': 'banana,apple,orange',
    'vegetable': 'broccoli,carrot',
    'appliance': 'microwave,oven,toaster,refrigerator',
    'puppet': 'teddy bear',
}
_GARMENTS = {
    'hair': 'hair',
    'hat': 'hat,cap,helmet,beanie,hood,headscarf,turban,bonnet',
    'torso': 'shirt,tshirt,tee,jacket,coat,sweater,hoodie,blouse,top,vest,sweatshirt,jersey,blazer,cardigan,tank top,'
    'polo,polo shirt,life jacket,bikini top,parka,pullover,apron',
    'legs': 'pants,jeans,shorts,trousers,skirt,leggings,slacks,khakis,tights,kilt,swim trunks,trunks',
    'feet': 'shoe,boot,sneaker,sandal,sock',
    'outfit': 'dress,suit,uniform,outfit,wetsuit,clothes,clothing,costume,robe,gown,attire,bathing suit,swimsuit,'
    'kimono,overalls,jumpsuit,wet suit,snowsuit,gear,swim suit',
}
_ABOVE, _BELOW, _AROUND = (0.0, 0.5), (0.5, 1.0), (0.0, 1.0)
_SURROUNDINGS = {
    _ABOVE: 'sky,cloud,ceiling',
    _BELOW: 'grass,field,lawn,meadow,pasture,ground,floor,carpet,rug,road,street,sand,beach,snow,court,water,ocean,sea,'
    'lake,river,pool,runway,sidewalk,slope,tennis court',
    _AROUND: 'wall,room,kitchen,bathroom,bedroom,living room,background,building,forest,tree,leaf,curtain,cabinet,tile,'
    'house,bush,foliage,scene,photo,picture,image,photograph,painting',
}
# What a compound of words is about where the last of them is one of these: a bus stop is no bus.
_UNBOXED = (
    'stop,station,door,wheel,seat,window,collar,face,nose,eye,ear,tail,leg,head,arm,hand,beak,feather,fur,stripe,spot,'
    'tire,light,sign,fence,frame,pole,brick,cloth,ribbon,plate,tray,pillow,cushion,food,rice,sauce,leash,rope,slice,'
    'juice,box,basket,flower,tarp,tent,flag,banner,lamp,mirror,bookcase,shelf,counter,countertop,handle,path,rock,'
    'candle,balloon,toy,doll,paper,letter,writing,graffiti,roof,bridge,track,platform,tub,bathtub,towel,shower,blade,'
    'number,carriage,wagon,cart,trailer,trim,accent,border,background color,scarf,belt,goggles,glasses,sunglasses,mask,'
    'board game,stick,net,goal,swing,slide,playground,fountain,statue,cover,screen'
)
_IRREGULAR = {
    'men': 'man',
    'women': 'woman',
    'people': 'person',
    'children': 'child',
    'geese': 'goose',
    'mice': 'mouse',
    'oxen': 'ox',
    'leaves': 'leaf',
    'shelves': 'shelf',
    'calves': 'calf',
    'knives': 'knife',
    'feet': 'foot',
    'scissors': 'scissors',
    'ladies': 'lady',
}
# Singular nouns that look like plurals, and plurals that look like singulars.
_NO_PLURAL = {'bus', 'glass', 'grass', 'tennis', 'dress', 'canvas', 'cactus', 'lens', 'class', 'wine glass', 'moss'}
_COLLECTIVE = {'cattle', 'sheep', 'people', 'fruit', 'luggage', 'baggage', 'crowd', 'couple'}


# Nouns whose plural is like their singular.
SAME_PLURAL = {'aircraft'}


def _table() -> dict[str, Thing]:
    table = {name: Thing() for name in _UNBOXED.split(',')}
    for band, names in _SURROUNDINGS.items():
        table |= dict.fromkeys(names.split(','), Thing(band=band))
    for part, names in _GARMENTS.items():
        table |= dict.fromkeys(names.split(','), Thing(('person',), part))
    for name, classes in _KINDS.items():
        table[name] = Thing(tuple(classes.split(',')))
    for name in COCO_CLASSES:
        nouns = [name, *_SYNONYMS.get(name, '').split(',')]
        table |= dict.fromkeys(filter(None, nouns), Thing((name,), alike=_ALIKE.get(name, ())))
    # What detectors of COCO take these for is a matter of taste.
    table |= {name: Thing(('handbag', 'backpack', 'suitcase')) for name in ('bag', 'tote')}
    table |= {name: Thing(('car', 'truck')) for name in ('van', 'minivan', 'suv', 'jeep', 'vehicle')}
    table |= {name: Thing(('truck', 'car')) for name in ('pickup', 'pickup truck')}
    table['glass'] = Thing(('cup', 'wine glass'))
    return table


NOUNS = _table()


def with_classes(classes: Iterable[str]) -> dict[str, Thing]:
    """The table with the classes of a detector that it does not have."""
    own = {name.lower(): Thing((name,)) for name in classes}
    return own | {noun: thing for noun, thing in NOUNS.items() if thing.classes or noun not in own}


def singular(words: str, table: Mapping[str, Thing] = NOUNS) -> tuple[str, bool] | None:
    """A noun of a table in the singular, and whether it stands for several; None if the table does not have it.

    Args:
        words: one word or several, in lower case.
        table: what nouns stand for.
    """
    if words in _COLLECTIVE:
        return _IRREGULAR.get(words, words), True
    if words in table:
        return words, words.endswith('s') and words not in _NO_PLURAL
    first, _, last = words.rpartition(' ')
    stems = [_IRREGULAR.get(last, '')]
    if last.endswith('s'):
        stems += [last[:-1], last[:-2] if last.endswith('es') else '', f'{last[:-3]}y' if last.endswith('ies') else '']
    for stem in filter(None, stems):
        if (name := f'{first} {stem}'.strip()) in table:
            return name, True
    return None
