"""Short texts as people search for them, and a small library to search in."""

from __future__ import annotations

QUERIES = """how to reset my password
annual leave policy
opening hours on sunday
what is the capital of france
cancel my subscription
refund for a damaged item
best pasta recipe
train from rome to venice
python list comprehension
why is the sky blue
change delivery address
cheap flights in may
how do vaccines work
symptoms of the flu
track my parcel
invoice from last month
weather in naples tomorrow
learn to play guitar
contact customer support
error code 404 meaning
convert miles to kilometres
who wrote don quixote
lost luggage at the airport
password requirements
upgrade to premium plan
solar panel cost
history of the printing press
remove a red wine stain
two factor authentication setup
how long to boil eggs
museum ticket prices
translate hello to japanese""".splitlines()

# A passage, and two questions that it answers.
LIBRARY = [
    line.split(" | ")
    for line in """The museum opens at nine and closes at six, except on Mondays. | When can I visit the museum? | museum opening times
Employees earn two days of paid leave for each month worked. | How much holiday do staff get? | vacation days per month
Send the parcel back within thirty days for a full refund. | What is the return period? | can I get my money back for an order
The printer shows a paper jam when tray two is open. | Why does the printer say paper jam? | printer tray error
Water boils at a lower temperature on a high mountain. | Does altitude change the boiling point? | boiling water in the mountains
The last train to Milan leaves at eleven at night. | How late can I travel to Milan? | final departure to Milan
Photosynthesis turns light, water and carbon dioxide into sugar and oxygen. | How do plants make food? | what does photosynthesis produce
Your password must have twelve characters and one digit. | What are the rules for a password? | password length
The treaty that ended the war was signed in a railway carriage. | Where was peace agreed? | signing of the treaty
Red wine stains come out with salt and sparkling water. | How do I clean wine from a tablecloth? | wine stain removal
Bees tell each other where flowers are by dancing. | How do bees communicate? | the dance of bees
The invoice is due two weeks after delivery. | When must I pay the bill? | payment deadline
A sourdough starter is fed with flour and water every day. | How do I keep sourdough alive? | feeding a bread starter
The heart pumps about five litres of blood a minute. | How much blood does the heart move? | cardiac output at rest
Penguins keep their eggs warm on top of their feet. | How do penguins protect eggs? | penguin parents and their eggs
The car's tyres should be changed when the tread is below three millimetres. | When do I need new tyres? | minimum tread depth
Mount Etna is the most active volcano in Europe. | Which European volcano erupts most? | Sicilian volcano
Interest on the loan is fixed at four percent for ten years. | What does the loan cost? | mortgage interest rate
The violin has four strings tuned in fifths. | How is a violin tuned? | strings of a violin
Antibiotics do not help against viruses. | Should I take antibiotics for the flu? | drugs against viral infections
The library lends ebooks for three weeks. | How long can I keep a borrowed ebook? | digital lending period
Gold does not rust because it hardly reacts with oxygen. | Why does gold stay shiny? | does gold corrode
The committee meets on the first Tuesday of each month. | When is the next committee meeting? | schedule of the board
Chess was brought to Europe from Persia. | Where does chess come from? | origin of the game of chess
To restart the router, hold the button for ten seconds. | How do I reset my router? | rebooting the wifi box
Saturn's rings are mostly made of ice. | What are Saturn's rings made of? | composition of planetary rings
The warranty covers two years and leaves out water damage. | Is water damage covered? | how long is the guarantee
Cheese ripens in caves because they are cool and damp. | Why is cheese aged in caves? | conditions for maturing cheese
The marathon is a little over forty-two kilometres long. | How far do marathon runners run? | distance of a marathon
Whales breathe air and must come to the surface. | Do whales have gills? | how whales breathe
The tenant pays for heating and electricity. | Who pays the utilities? | energy costs of the flat
Vaccines train the immune system with a harmless piece of a germ. | How does a vaccine work? | immunisation explained
The bridge was closed after engineers found cracks in a beam. | Why is the bridge shut? | damage to the bridge
Olive trees can live for more than a thousand years. | How old do olive trees get? | age of ancient trees
The meeting room on the second floor has a projector. | Where can I show slides? | room with a beamer
Silk is made from the cocoons of moths. | Where does silk come from? | silkworms
The ferry takes forty bicycles and no cars. | Can I take my car on the ferry? | bikes on the boat
Earthquakes are measured by instruments called seismographs. | How is the strength of a quake measured? | earthquake instruments
Children under six travel free on buses. | Do small children need a bus ticket? | free public transport for kids
The novel tells of a man who fights windmills. | In which book are windmills attacked? | story of a knight and windmills
Backups run every night at two and are kept for a month. | How often are backups made? | retention of backup copies
Coffee was first drunk in Yemen and Ethiopia. | Who drank coffee first? | origin of coffee
The printing press made books cheap. | Why did books become affordable? | effect of Gutenberg's invention
Camels store fat in their humps, and not water. | What is in a camel's hump? | camel hump contents
Dial zero for the reception. | How do I call the front desk? | phone number of reception
The moon always shows us the same side. | Why do we never see the far side of the moon? | lunar rotation
Add the eggs one by one and beat the dough until it is smooth. | How do I mix eggs into dough? | baking instructions with eggs
The union agreed to a pay rise of three percent. | How much more will workers earn? | wage agreement
Solar panels on the roof pay for themselves in nine years. | When does solar power pay off? | return on photovoltaic panels
Bats find their way in the dark by sound. | How do bats navigate? | echolocation""".splitlines()
]
PASSAGES = [passage for passage, _, _ in LIBRARY]
QUESTIONS = [question for _, *questions in LIBRARY for question in questions]
