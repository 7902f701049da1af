"""The words and parts of words that generated texts are made of; repetition makes them frequent."""

_SHORT = """
a a a I the the the the of of of and and and to to in in is it on at by as an or be we he no if so
up do my us was are but not had her his she you for all can one two its our out who how any may
now new old day way man sea sun see say let too off own yet why few far ago red big ten six art
law ink air oil key map age war eye arm boy dog cup bed top end war bay
"""
_COMMON = """
about above across after again against almost alone along already also although always among
answer appear around article autumn away baker balance became because become been before began
begin behind being believe below better between beyond black blood board boat body book both
bottom bread bridge bright bring broken brother brought brown build built business call came
capital captain care carried carry case castle cause center century certain chance change chapter
children church circle city clear climate close cloth cloud coast cold color column come common
company complete consider contain corner cost could council country course court cover create
cross crowd current daily danger daughter dark dead decide deep degree describe desert detail
differ dinner direct discover distance doctor document does done door double doubt down dream
dress drive early earth east easy edge editor effect eight either electric empty engine english
enough enter equal evening event ever every example except expect experience explain face fact
fair fall family famous farmer father favor feel feet fell field figure final find fine finger
finish fire first fish five floor flower follow food foot force foreign forest forget form forward
found four free fresh friend from front fruit full garden gather gave general gentle give glass
gold gone good govern grain grand grass great green ground group grow guide half hand happen happy
harbor hard have head hear heart heat heavy held help here high hill history hold home hope horse
hour house however human hundred hunt hurry idea important inch include increase indeed industry
instead interest into iron island join journey judge just keep kept kind king kitchen knew know
labor lady lake land language large last late laugh lead learn least leave left length less letter
level library life light like line list listen little live local long look lost love machine made
mail main make many march mark market master material matter mean measure meet member memory metal
method middle might mile mind minute modern moment money month moon more morning most mother
motion mountain mouth move much music must name nation nature near need never next night nine
noise none north notice number object observe ocean offer office often once only open opinion
order other over page paint paper part party pass past patient pattern people perhaps period
person picture piece place plain plan plant play please point poor port position possible power
present press price print problem produce proper provide public pull purpose quarter question
quick quiet quite rain raise range rather reach read ready real reason receive record region
remain remember reply report require rest result return rich ride right ring rise river road rock
roll roof room root rose round rule safe said sail salt same sand school science season seat
second seem sell send sense sent serve settle seven several shade shape share sharp sheet ship
shop shore short should shoulder show side sign silent silver similar simple since sister size
skill sleep slow small smile snow society soft soil soldier some song soon sound south space speak
special spoke spread spring square stage stand star start state station steam steel step still
stone stood stop storm story straight strange stream street strong student study subject such
sudden sugar suit summer supply sure surface system table take talk tall teach tell temple term
test than thank that their them then there these they thick thin thing think third this those
though thought thousand three through thus time today together told took town trade train travel
tree trial trouble true trust turn twelve twenty under union unit until upon useful usual valley
value various very view village visit voice wait walk wall want warm wash watch water wave wear
weather week weight well went were west what wheel when where which while white whole whose wide
wild will wind window wing winter wish with within without woman wonder wood word work world worth
would write wrong year yellow young
"""
_ONSETS = """
b b c c c d d f f g h h j k l l l m m m n n p p qu r r s s s t t t v w w y z bl br ch ch cl cr dr
fl fr gl gr pl pr sc sh sh sl sm sn sp st st str sw th th tr wh wr
"""
_NUCLEI = """
a a a a e e e e e i i i o o o u u ai au ea ee ie io oa oo ou
"""
_CODAS = """
b c ck ct d f ft g k l ll lt m mp n n n nd ng nk nt p r r rd rk rm rn rt s ss st t t x
"""
_SUFFIXES = """
al ance ant ed ed en er er es est ful ic ing ing ish ity ive less ly ment ness ous s s tion y
"""

SHORT = tuple(_SHORT.split())  # words of up to three letters
COMMON = tuple(_COMMON.split())  # longer words of common English
ONSETS = tuple(_ONSETS.split())  # beginnings of syllables
NUCLEI = tuple(_NUCLEI.split())  # vowels
CODAS = tuple(_CODAS.split())  # ends of syllables
SUFFIXES = tuple(_SUFFIXES.split())  # ends of words
