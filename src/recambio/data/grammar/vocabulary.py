"""The words: one entry a line, read by `recambio.data.grammar.lexicon`.

Nouns: English (``/irregular plural``) ``|`` Spanish (``/feminine`` or, for gender ``m`` and ``f``, ``/irregular
plural``) ``|`` gender, ``c`` for both ``|`` classes. Adjectives: English ``|`` Spanish ``|``
    classes of nouns that
they fit ``|`` flags. Indented lines continue an entry. The classes are what verbs and adjectives select by.
"""

from __future__ import annotations

NOUNS = """
# --- people. own: someone's; kin: always someone's; single: one each; job: what one is by profession
man/men|hombre|m|person adult
woman/women|mujer|f|person adult
boy|niño|m|person child
girl|niña|f|person child
king|rey|m|person adult
queen|reina|f|person adult
prince|príncipe|m|person
princess|princesa|f|person
brother|hermano|m|person kin
sister|hermana|f|person kin
mother|madre|f|person kin single
father|padre|m|person kin single
grandmother|abuela|f|person kin single elder
grandfather|abuelo|m|person kin single elder
uncle|tío|m|person kin
aunt|tía|f|person kin
son|hijo|m|person kin
daughter|hija|f|person kin
cousin|primo/prima|c|person kin
friend|amigo/amiga|c|person kin
neighbor|vecino/vecina|c|person own
boss|jefe/jefa|c|person own adult
doctor|médico/médica|c|person job own adult
teacher|profesor/profesora|c|person job own adult
student|estudiante/estudiante|c|person job own
nurse|enfermero/enfermera|c|person job adult
lawyer|abogado/abogada|c|person job own adult
engineer|ingeniero/ingeniera|c|person job adult
cook|cocinero/cocinera|c|person job own adult
writer|escritor/escritora|c|person job artist adult
singer|cantante/cantante|c|person job artist
painter|pintor/pintora|c|person job artist adult
pianist|pianista/pianista|c|person job artist
dancer|bailarín/bailarina|c|person job artist
journalist|periodista/periodista|c|person job adult
dentist|dentista/dentista|c|person job own adult
baker|panadero/panadera|c|person job own adult
farmer|granjero/granjera|c|person job adult
gardener|jardinero/jardinera|c|person job own adult
scientist|científico/científica|c|person job adult
architect|arquitecto/arquitecta|c|person job own adult
police officer|policía/policía|c|person job adult
waiter|camarero|m|person job adult
waitress|camarera|f|person job adult
actor|actor|m|person job artist
actress|actriz|f|person job artist
tourist|turista/turista|c|person adult
# --- animals
dog|perro|m|animal own pet meat_eater barks
cat|gato|m|animal own pet meat_eater
horse|caballo|m|animal own livestock plant_eater
cow|vaca|f|animal own livestock plant_eater
pig|cerdo|m|animal own livestock plant_eater
goat|cabra|f|animal own livestock plant_eater
hen|gallina|f|animal own livestock little
donkey|burro|m|animal own livestock plant_eater
rabbit|conejo|m|animal own pet plant_eater little
turtle|tortuga|f|animal own pet plant_eater little
parrot|loro|m|animal own pet flies little
duck|pato|m|animal flies little
bird|pájaro|m|animal flies little
mouse/mice|ratón|m|animal little
bear|oso|m|animal wild meat_eater
wolf/wolves|lobo|m|animal wild meat_eater
fox|zorro|m|animal wild meat_eater
lion|león|m|animal wild meat_eater
tiger|tigre|m|animal wild meat_eater
elephant|elefante|m|animal wild plant_eater
monkey|mono|m|animal wild plant_eater
eagle|águila|f|animal wild meat_eater flies stressed_a
# --- food and drink. warm: served hot; cooked: what one cooks; whole: counted
bread|pan|m|food mass made cut
cheese|queso|m|food mass cut
meat|carne|f|food mass warm cooked cut
fish|pescado|m|food mass warm cooked cut
chicken|pollo|m|food mass warm cooked cut
rice|arroz|m|food mass warm cooked
soup|sopa|f|food mass warm cooked made
ham|jamón|m|food mass cut
butter|mantequilla|f|food mass
chocolate|chocolate|m|food mass
apple|manzana|f|food whole fruit cut plant
orange|naranja|f|food whole fruit cut plant
banana|plátano|m|food whole fruit cut plant
pear|pera|f|food whole fruit cut plant
strawberry|fresa|f|food whole fruit plant
lemon|limón|m|food whole fruit cut
tomato|tomate|m|food whole cut plant
potato|patata|f|food whole cooked cut plant
onion|cebolla|f|food whole cut
carrot|zanahoria|f|food whole cut plant
egg|huevo|m|food whole cooked
cake|pastel|m|food whole made cut sweet
cookie|galleta|f|food whole made sweet
sandwich|bocadillo|m|food whole made cut
salad|ensalada|f|food whole made
water|agua|f|drink mass stressed_a
milk|leche|f|drink mass warm
coffee|café|m|drink mass warm brewed
tea|té|m|drink mass warm brewed
juice|zumo|m|drink mass
wine|vino|m|drink mass
beer|cerveza|f|drink mass
lemonade|limonada|f|drink mass brewed
# --- texts, songs and what is learnt
book|libro|m|object text small portable lend present opens
novel|novela|f|object text small portable lend
poem|poema|m|text learnt
story|cuento|m|text told learnt
letter|carta|f|object text sent small portable opens
message|mensaje|m|text sent
newspaper|periódico|m|object text small portable
magazine|revista|f|object text small portable lend
dictionary|diccionario|m|object text_tool small portable lend tool
map|mapa|m|object small portable lend tool drawn
recipe|receta|f|text explained
report|informe|m|text sent explained
song|canción|f|learnt sung
lesson|lección|f|learnt explained hard
question|pregunta|f|hard asked
answer|respuesta|f|explained hard
problem|problema|m|explained hard
exercise|ejercicio|m|explained hard learnt
word|palabra|f|learnt explained hard
language|idioma|m|learnt
idea|idea|f|explained
film|película|f|
# --- things
table|mesa|f|object furniture
desk|escritorio|m|object furniture
chair|silla|f|object furniture carried
bed|cama|f|object furniture
sofa|sofá|m|object furniture
door|puerta|f|opens painted repaired part
window|ventana|f|opens breaks painted repaired part
box|caja|f|object small portable opens holds carried
bag|bolsa|f|object small portable opens holds carried
suitcase|maleta|f|object portable opens holds carried
basket|cesta|f|object small portable holds carried
backpack|mochila|f|object small portable opens holds carried lend
cup|taza|f|object small portable breaks dish
glass|vaso|m|object small portable breaks dish
plate|plato|m|object small portable breaks dish
bottle|botella|f|object small portable breaks opens dish
knife/knives|cuchillo|m|object small portable dish tool
spoon|cuchara|f|object small portable dish
fork|tenedor|m|object small portable dish
key|llave|f|object small portable lost
wallet|cartera|f|object small portable lost
ring|anillo|m|object small portable lost present
umbrella|paraguas/paraguas|m|object small portable lost lend breaks opens
phone|teléfono|m|object small portable lost tool repaired breaks lend
camera|cámara|f|object small portable lost tool repaired breaks lend
computer|ordenador|m|object tool repaired lend breaks
clock|reloj|m|object small repaired breaks
lamp|lámpara|f|object repaired breaks
mirror|espejo|m|object breaks
candle|vela|f|object small portable
pencil|lápiz|m|object small portable lost lend
pen|bolígrafo|m|object small portable lost lend
photo|foto|f|object small portable sent shown
picture|cuadro|m|object shown painted_work
flower|flor|f|object small portable present drawn
tree|árbol|m|drawn
ball|pelota|f|object small portable lost
toy|juguete|m|object small portable present breaks repaired
gift|regalo|m|object small portable opens sent
ticket|billete|m|object small portable lost
hammer|martillo|m|object small portable tool lend
axe|hacha|f|object small portable tool lend stressed_a
guitar|guitarra|f|object instrument lend
violin|violín|m|object instrument lend
piano|piano|m|object instrument
flute|flauta|f|object instrument small portable lend
# --- clothes
shirt|camisa|f|clothing
blouse|blusa|f|clothing
dress|vestido|m|clothing
skirt|falda|f|clothing
coat|abrigo|m|clothing
jacket|chaqueta|f|clothing
sweater|suéter|m|clothing
hat|sombrero|m|clothing lost
scarf/scarves|bufanda|f|clothing lost
tie|corbata|f|clothing
shoe|zapato|m|clothing pairs lost
boot|bota|f|clothing pairs
glove|guante|m|clothing pairs lost
sock|calcetín|m|clothing pairs lost
# --- vehicles
car|coche|m|vehicle driven owned
truck|camión|m|vehicle driven owned
bicycle|bicicleta|f|vehicle owned lend
motorcycle|moto|f|vehicle owned lend
boat|barco|m|vehicle owned
bus|autobús|m|vehicle driven awaited
taxi|taxi|m|vehicle driven awaited
train|tren|m|vehicle awaited
plane|avión|m|vehicle awaited flies
# --- places; in, at, on: the English preposition
house|casa|f|place in building home owned rest
castle|castillo|m|place in building home big
school|escuela|f|place at building study work big
university|universidad|f|place at building study work big
library|biblioteca|f|place in building study work
classroom|aula|f|place in room study stressed_a
office|oficina|f|place in room work
kitchen|cocina|f|place in room eat
bathroom|baño|m|place in room
garden|jardín|m|place in outside eat rest owned
park|parque|m|place in outside eat rest show
square|plaza|f|place in outside show
street|calle|f|place in outside show
beach|playa|f|place on outside rest
forest|bosque|m|place in outside
lake|lago|m|place in water_place
river|río|m|place in water_place
swimming pool|piscina|f|place in water_place
village|pueblo|m|place in home big
city|ciudad|f|place in home big
farm|granja|f|place on home work
market|mercado|m|place at shop work
store|tienda|f|place in building shop work
bakery|panadería|f|place in building work
pharmacy|farmacia|f|place in building work
restaurant|restaurante|m|place in building eat work show
hotel|hotel|m|place in building rest work eat big
hospital|hospital|m|place in building work rest big
museum|museo|m|place in building work big
church|iglesia|f|place in building
theater|teatro|m|place at building show work
cinema|cine|m|place at building
station|estación|f|place at building work
airport|aeropuerto|m|place at building work big
bank|banco|m|place in building work
bridge|puente|m|built
# --- the body
head|cabeza|f|body
back|espalda|f|body
stomach|estómago|m|body
foot/feet|pie|m|body pair
hand|mano|f|body pair
leg|pierna|f|body pair
arm|brazo|m|body pair
knee|rodilla|f|body pair
# --- measures
year|año|m|
euro|euro|m|
"""

ADJECTIVES = """
# flags: ser or estar as predicate (neither: never a predicate); pre: before the noun; er: graded with -er, -est;
# more: graded with "more"; very: takes "very" without being compared; the: only after a definite determiner; noattr: predicate only
tall|alto|person tree|ser er
short|bajo|person|ser er
young|joven|adult|ser er
strong|fuerte|person livestock wild|ser er
thin|delgado|person|ser er
kind|amable|person|ser er
intelligent|inteligente|person pet|ser more
famous|famoso|person painted_work museum theater restaurant hotel song film novel|ser more
rich|rico|adult prince princess|ser er
poor|pobre|adult|ser er
lazy|perezoso|person pet donkey|ser er
hardworking|trabajador|person|ser more
shy|tímido|person|ser er
friendly|simpático|person|ser er
funny|gracioso|person parrot monkey|ser er
elegant|elegante|adult clothing hotel restaurant|ser more
brave|valiente|person dog horse lion|ser er
honest|honesto|person|ser more
serious|serio|person|ser more
Spanish|español|person song newspaper film wine cheese|ser
French|francés|person song film wine cheese magazine|ser
English|inglés|person song newspaper dictionary|ser
Italian|italiano|person song film wine cheese shoe coat|ser
German|alemán|person car beer train|ser
Mexican|mexicano|person song beer restaurant|ser
tired|cansado|person pet livestock|estar very
sick|enfermo|person pet livestock|estar very
happy|contento|person|estar er
sad|triste|person|estar er
angry|enfadado|person|estar very
worried|preocupado|person|estar very
nervous|nervioso|person pet|estar very
busy|ocupado|person|estar very
bored|aburrido|person|estar very
ready|listo|person|estar noattr
alone|solo|person|estar noattr
big|grande|animal -little object -text clothing vehicle place -body fruit potato onion egg cake
    bridge tree|ser er
small|pequeño|animal object -text clothing vehicle place -body fruit potato onion egg cake
    bridge tree|ser er
new|nuevo|object clothing vehicle building film song -flower -castle bridge|ser er
old|viejo|object -flower -candle clothing vehicle building tree bridge man woman dog cat horse
    donkey|ser er
pretty|bonito|clothing dish flower picture photo lamp mirror basket house garden village church
    square cat bird rabbit boat|ser er
beautiful|hermoso|flower picture house castle garden park beach lake river village city horse
    eagle tiger woman princess queen actress song poem|ser more
ugly|feo|clothing furniture lamp picture car building hen duck|ser er
expensive|caro|object -letter clothing vehicle house hotel restaurant store|ser more
cheap|barato|object -letter clothing vehicle house hotel restaurant store|ser er
heavy|pesado|furniture holds hammer axe piano lamp mirror clock computer coat boot dictionary|ser er
long|largo|text -message -text_tool song film lesson street beach bridge river skirt dress scarf
    exercise word|ser er
modern|moderno|building kitchen car train phone camera computer lamp furniture bridge city|ser more
comfortable|cómodo|furniture clothing car train house hotel -desk -table|ser more
useful|útil|tool language dictionary map bag basket umbrella lesson idea book recipe
    exercise|ser more
strange|extraño|question answer idea word story film object -flower animal -pet -livestock|ser er
interesting|interesante|text film lesson museum question answer idea city exercise problem word
    -recipe -message|ser more
boring|aburrido|text film lesson exercise museum village -recipe -message|ser more
difficult|difícil|hard language recipe song poem|ser more
easy|fácil|hard language recipe song poem|ser er
important|importante|book report letter message lesson question answer problem word idea key
    city|ser more
fast|rápido|vehicle horse tiger rabbit dog|ser er
slow|lento|vehicle donkey turtle computer|ser er
dangerous|peligroso|wild street forest axe knife river motorcycle -eagle -monkey -elephant|ser more
quiet|tranquilo|street park beach village hotel library lake farm restaurant|ser er
noisy|ruidoso|street city restaurant train truck motorcycle classroom market hotel|ser er
red|rojo|clothing vehicle -train -plane flower ball umbrella bag box door chair sofa suitcase
    backpack cup|ser
blue|azul|clothing vehicle ball umbrella bag box door chair sofa suitcase backpack cup plate pen|ser
green|verde|clothing vehicle -plane -train ball umbrella bag box door chair sofa bottle suitcase
    turtle parrot|ser
yellow|amarillo|clothing vehicle -plane -train flower ball umbrella bag box door chair house
    pencil|ser
white|blanco|clothing vehicle animal -wild -turtle -parrot -eagle flower umbrella box door chair
    sofa house cup plate bed|ser
black|negro|clothing vehicle animal -wild -turtle -parrot umbrella bag box suitcase pen sofa
    piano -eagle|ser
brown|marrón|coat jacket shoe boot glove bag suitcase hat skirt sofa chair door dog horse hen|ser
gray|gris|coat jacket skirt hat tie sweater shirt cat mouse donkey sofa car suitcase rabbit|ser
clean|limpio|clothing dish room vehicle window bathroom house hotel beach table river lake
    swimming_pool street -boat -plane|estar very
dirty|sucio|clothing dish room vehicle window bathroom house hotel beach table river lake
    swimming_pool street -boat -plane|estar very
full|lleno|holds bottle glass cup train bus restaurant hotel theater museum cinema beach|estar
empty|vacío|holds bottle glass cup train bus restaurant hotel theater museum cinema beach church
    house wallet|estar
open|abierto|door window box suitcase store pharmacy museum library bank bakery restaurant|estar
closed|cerrado|door window box suitcase store pharmacy museum library bank bakery restaurant
    park|estar
broken|roto|breaks chair boot sock shirt toy basket hammer|estar
cold|frío|warm drink|estar very
hot|caliente|warm|estar very
sweet|dulce|fruit -lemon sweet juice wine lemonade|ser er
fresh|fresco|bread fish fruit tomato egg salad milk juice cheese meat|
delicious|delicioso|food -butter -onion -potato wine coffee juice lemonade|estar
good|bueno|job book novel film story song poem idea answer question recipe restaurant hotel
    doctor friend school wine cheese coffee car camera phone dog horse|pre
bad|malo|job book novel film story poem idea answer restaurant hotel friend wine coffee|pre
great|grande|artist scientist architect teacher doctor lawyer cook king queen book novel film
    poem idea song|pre
first|primero|lesson exercise question book letter novel train bus film word house car computer
    phone job song poem|pre the
second|segundo|lesson exercise question book letter novel train bus film word house car computer
    phone job song poem|pre the
third|tercero|lesson exercise question book letter novel train bus film word house car computer
    phone job song poem|pre the
last|último|lesson exercise question letter book train bus film word cookie banana apple egg
    ticket bottle candle|pre the
"""

STATES = """
hungry|hambre|f
thirsty|sed|f
sleepy|sueño|m
afraid|miedo|m
in a hurry|prisa|f
"""

NAMES = """
Ana|Ana|f
Maria|María|f
Carmen|Carmen|f
Lucia|Lucía|f
Elena|Elena|f
Laura|Laura|f
Rosa|Rosa|f
Isabel|Isabel|f
Irene|Irene|f
Ines|Inés|f
Olga|Olga|f
Pedro|Pedro|m
Juan|Juan|m
Luis|Luis|m
Carlos|Carlos|m
Miguel|Miguel|m
Diego|Diego|m
Pablo|Pablo|m
Ignacio|Ignacio|m
Ivan|Iván|m
Oscar|Óscar|m
Hector|Héctor|m
"""

CITIES = """
Madrid|Madrid
Barcelona|Barcelona
Seville|Sevilla
London|Londres
Paris|París
Rome|Roma
Lisbon|Lisboa
Toledo|Toledo
"""

VERBS = """
# key | English | Spanish | stem change | aspect and flags
# action: all tenses; feeling: no wish or duty; event: no progressive; state: no progressive, past in the imperfect
# accident: not planned or ordered; lasting: a state with a future
# to: the recipient always takes "to"; gives: takes a recipient
eat|eat ate eaten|comer||action
drink|drink drank drunk|beber||action
cook|cook|cocinar||action
prepare|prepare|preparar||action
cut|cut cut cut|cortar||action
make|make made made|hacer||action
do|do did done|hacer||action
buy|buy bought bought|comprar||action
sell|sell sold sold|vender||action gives
pay for|pay paid paid+for|pagar||event
choose|choose chose chosen|elegir|i|event
need|need|necesitar||state lasting
want|want|querer|ie|state
have|have had had|tener|ie|state lasting
wash|wash|lavar||action
clean|clean|limpiar||action
break|break broke broken|romper||event accident
repair|repair|reparar||action
open|open|abrir||action
close|close|cerrar|ie|action
read|read read read|leer||action
write|write wrote written|escribir||action
translate|translate|traducir||action
paint|paint|pintar||action
draw|draw drew drawn|dibujar||action
carry|carry|llevar||action
wear|wear wore worn|llevar||state lasting
lose|lose lost lost|perder|ie|event accident
find|find found found|encontrar|ue|event
look for|look+for|buscar||action
forget|forget forgot forgotten|olvidar||event accident
use|use|usar||action
drive|drive drove driven|conducir||action
play music|play|tocar||action
play|play|jugar|ue|action
sing|sing sang sung|cantar||action
learn|learn|aprender||action
study|study|estudiar||action
understand|understand understood understood|entender|ie|event
explain|explain|explicar||action gives to
build|build built built|construir||action
bring|bring brought brought|traer||event gives
send|send sent sent|enviar|í|event gives
give|give gave given|dar||event gives
show|show showed shown|mostrar|ue|event gives
lend|lend lent lent|prestar||event gives
tell|tell told told|contar|ue|action gives
hide|hide hid hidden|esconder||event
listen to|listen+to|escuchar||action
hear|hear heard heard|oír||event
see|see saw seen|ver||event
watch|watch|mirar||action
visit|visit|visitar||action
know|know knew known|conocer||state
know that|know knew known|saber||event
love|love|querer|ie|state
hug|hug|abrazar||action
kiss|kiss|besar||action
greet|greet|saludar||event
call|call|llamar||action
admire|admire|admirar||state
help|help|ayudar||action
wait for|wait+for|esperar||action
invite|invite|invitar||event
remember|remember|recordar|ue|state
follow|follow|seguir|i|action
chase|chase|perseguir|i|action
attack|attack|atacar||action
bite|bite bit bitten|morder|ue|event
protect|protect|proteger||action
push|push|empujar||action
sleep|sleep slept slept|dormir|ue|action
run|run ran run|correr||action
walk|walk|caminar||action
swim|swim swam swum|nadar||action
work|work|trabajar||action
dance|dance|bailar||action
cry|cry|llorar||feeling
smile|smile|sonreír||action
shout|shout|gritar||action
jump|jump|saltar||action
rest|rest|descansar||action
fly|fly flew flown|volar|ue|action
bark|bark|ladrar||action
live|live|vivir||state lasting
travel|travel|viajar||action
go|go went gone|ir||event
come|come came come|venir|ie|event
return|return|volver|ue|event
arrive|arrive|llegar||event
leave|leave left left|salir||event
wake up|wake woke woken+up|despertarse|ie|event
get up|get got gotten+up|levantarse||event
go to bed|go went gone+to bed|acostarse|ue|event
get dressed|get got gotten+dressed|vestirse|i|event
sit down|sit sat sat+down|sentarse|ie|event
take a shower|take took taken+a shower|ducharse||action
fall asleep|fall fell fallen+asleep|dormirse|ue|event accident
get angry|get got gotten+angry|enfadarse||event accident
cost|cost cost cost|costar|ue|state
say|say said said|decir|i|event
think|think thought thought|creer||event
like|like|gustar||event
adore|love|encantar||event
hurt|hurt hurt hurt|doler|ue|event
"""

FRAMES = """
# key | subjects | objects | places | manners
eat|person|food -butter|eat|slowly quickly
eat|meat_eater|meat fish chicken||slowly quickly
eat|plant_eater|plant||slowly quickly
drink|person|drink|eat|slowly
drink|animal|water||slowly
cook|person|cooked|kitchen restaurant|well
prepare|person|brewed soup salad sandwich cake|kitchen restaurant|carefully
cut|person|cut|kitchen|carefully
make|person|made toy dress skirt|kitchen|carefully
do|person|exercise|classroom library kitchen|slowly quickly well carefully
buy|person|object clothing vehicle|shop|
buy|person|food drink|market store|
buy|person|house|city village|
sell|person|object clothing vehicle|shop|
sell|person|food drink|market store|
pay for|person|food drink -butter -onion -lemon -egg|restaurant hotel|
pay for|person|clothing small -key|store|
choose|person|object clothing vehicle song film -key||carefully
need|person|object clothing vehicle -flower -ring -candle food -cake -cookie -chocolate||
want|person|object clothing vehicle food drink -key||
have|person|object clothing vehicle house garden||
have|person|pet livestock||
have|person|brother sister cousin uncle aunt friend son daughter||
wash|person|clothing dish -bottle vehicle -train -plane -boat fruit potato carrot window|kitchen
    bathroom garden|carefully
clean|person|furniture room dish house window lamp mirror vehicle -train -plane store restaurant
    church boot shoe||carefully well
break|person|breaks|kitchen|
repair|person|repaired vehicle furniture bridge toy shoe house||carefully well
open|person|opens store restaurant library||carefully slowly
close|person|opens -letter -gift -bottle store restaurant library||carefully slowly
read|person|text -text_tool|study park garden|slowly carefully
write|person|text -newspaper -magazine -text_tool|study office|quickly slowly
translate|person|text -text_tool song||well quickly
paint|person|painted house chair table tree flower boat picture bicycle castle
    bridge|garden park|well slowly
draw|person|tree house flower map boat castle bridge train bicycle lamp|classroom|well slowly
carry|person|carried box bag piano lamp basket|street house|
wear|person|clothing||
lose|person|lost book glove clothing|park street beach station|
find|person|lost book letter photo flower|park street beach station|
find|person|pet bird|park street forest|
look for|person|lost book letter photo map dictionary|house park office|
look for|person|pet|park street forest|
look for|person|person|park street station|
forget|person|umbrella key wallet book bag phone ticket lesson word question hat backpack
    gift|restaurant hotel station|
use|person|tool -text_tool dictionary pencil pen knife bicycle|office school kitchen|carefully
drive|person|driven|city street|slowly carefully quickly
play music|person|instrument|show|well
sing|person|sung|show|well
learn|person|learnt||quickly well
study|person|lesson exercise question problem poem map language report novel|study|
understand|person|hard idea word novel poem film recipe letter message||well
explain|person|explained poem||well slowly
build|person|house castle bridge boat school table chair bed|village city|carefully
bring|person|small portable food drink||
send|person|sent flower book||
give|person|gift flower book ring key ticket photo picture ball food dictionary camera bicycle||
show|person|photo picture house letter map book dress ring garden camera dictionary ticket||
lend|person|lend||
tell|person|told||well
hide|person|letter key gift ring photo wallet box book|house garden|
listen to|person|sung story|room park theater|
listen to|person|person|school theater office|
hear|person|song story||
hear|person|person animal|street park forest|
see|person|film|cinema|
see|person|building bridge tree vehicle picture flower|city village|
see|person|beach river lake forest photo||
see|person|person|street park market station|
see|person animal|animal|forest street garden|
watch|person|person animal|park street|
visit|person|museum castle church house farm city village school university library beach market||
visit|person|person|hospital village house city|
know|person|restaurant hotel museum village city castle beach park bakery song novel poem
    story||well
know|person|person||well
love|person|person||
hug|person|person|street station|
hug|person|pet||
kiss|person|person|street station|
greet|person|person|street market station office|
call|person|person||
admire|person|person||
help|person|person|kitchen office hospital garden school|
wait for|person|awaited -plane|street station|
wait for|person|person|station street restaurant airport|
invite|person|person||
remember|person|person||well
remember|person|song poem story word answer film city village question||well
follow|person|person|street forest|
follow|animal|person|street forest park|
follow|animal|animal|forest garden|
chase|dog cat goat bird duck wild|animal -elephant|forest garden street|
chase|dog wild|person|street park|
attack|wild|animal|forest|
attack|wild|person|forest|
bite|dog cat wild horse rabbit mouse donkey|person|street garden|
bite|dog cat wild mouse|animal|forest garden|
protect|person|person pet livestock||
protect|dog|person pet livestock||
push|person|person|street|
sleep|person|-|rest room home -bathroom -kitchen|well
sleep|animal|-|garden house street|
run|person|-|outside|quickly slowly
run|animal -turtle -duck -eagle -parrot|-|outside|quickly
walk|person|-|outside|slowly quickly
walk|animal|-|street garden forest|slowly
swim|person|-|water_place|well quickly slowly
swim|duck dog turtle bear elephant tiger|-|lake river|well slowly
work|person|-|work|well a_lot
dance|person|-|show hotel room|well a_lot
sing|person|-|show church kitchen|well a_lot
sing|bird|-|garden forest park|well
study|student boy girl son daughter brother sister cousin friend|-|study|well a_lot
cook|person|-|kitchen restaurant|well a_lot
read|person|-|study park garden|well a_lot
paint|painter artist girl woman man neighbor grandmother|-|garden park|well a_lot
write|writer journalist woman man friend|-|study office|well a_lot
eat|person|-|eat|well a_lot slowly
play|boy girl son daughter cousin dog cat|-|outside swimming_pool room|
cry|person|-|room street|a_lot
smile|person|-||a_lot
shout|person|-|street park|a_lot
jump|boy girl dog cat rabbit monkey horse|-|garden park|well
rest|person|-|rest|
rest|animal|-|garden forest|
fly|flies|-||quickly slowly
bark|barks|-|garden street|a_lot
live|person|-|home|well
live|wild|-|forest|
"""
